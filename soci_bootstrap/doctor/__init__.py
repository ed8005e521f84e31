"""Is this node pulling with SOCI, and if not, why: observe, checks, rules, report."""
