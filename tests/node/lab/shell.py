"""Boot a node and run a command on it, or wait: `python -m tests.node.lab.shell ROOT [COMMAND…]`, as root."""

from __future__ import annotations

import argparse
import sys

from tests.node.lab import rootfs
from tests.node.lab.eks import NEWEST, Ami, eks_node


def main() -> int:
    """Parse, boot, run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", choices=rootfs.NODE_ROOTS)
    parser.add_argument(
        "command", nargs="*", help="a shell command; none: show how to enter and wait for Enter"
    )
    parser.add_argument("--generation", type=int, default=NEWEST, help="the AMI's date, like 20260724")
    parser.add_argument(
        "--userdata", type=argparse.FileType(), help="a MIME document, run by the real cloud-init"
    )
    options = parser.parse_args()
    userdata = options.userdata.read() if options.userdata else ""
    ami = Ami(options.root, generation=options.generation)
    with eks_node(ami, userdata=userdata, cloud_init=bool(userdata)) as node:
        node.boot()
        sys.stderr.write(f"booted in {node.boot_seconds:.1f} s\n")
        if options.command:
            done = node.run(" ".join(options.command), check=False, timeout=3600)
            sys.stdout.write(done.stdout)
            sys.stderr.write(done.stderr)
            return done.returncode
        sys.stderr.write(f"enter with: nsenter -t {node.pid} -a -r -w bash\nEnter switches it off.\n")
        sys.stdin.readline()
    return 0


if __name__ == "__main__":
    sys.exit(main())
