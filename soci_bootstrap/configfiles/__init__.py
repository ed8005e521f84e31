"""containerd's, kubelet's and SOCI's configuration as documents; pure."""
