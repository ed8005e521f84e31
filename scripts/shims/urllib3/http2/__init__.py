"""urllib3 needs only ``probe`` of this package; its own version imports importlib.metadata for the rest."""
