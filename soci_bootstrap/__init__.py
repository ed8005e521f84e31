"""Turn on the SOCI snapshotter's parallel pull on an EKS node, so that the node always joins."""

__version__ = "0.1.0"
