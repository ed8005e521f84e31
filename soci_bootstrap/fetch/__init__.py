"""Download a SOCI release and verify it; mirror releases."""
