"""A lab that boots real nodes: systemd as PID 1 in a Debian root, real containerd, on one machine.

Test code only. Start with ``eks.eks_node`` or ``node.Node``; see tests/node/README.md.
"""
