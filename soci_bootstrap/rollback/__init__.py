"""The node as it was before the first install."""
