"""Everything that the checks are decided from, observed once."""
