"""Every path and unit name that the agent knows: its own, and those of the programs it works with."""

from __future__ import annotations

import os
import re

# -- the agent's own --------------------------------------------------------------------------------

AGENT = "/usr/local/sbin/soci-bootstrap"
SETTINGS = "/etc/soci-bootstrap/config.toml"
LIBEXEC = "/usr/local/libexec/soci-bootstrap"
DECOMPRESSOR = f"{LIBEXEC}/gunzip"
"""Runs ``inflate.py``, or the node's unpigz or gzip where Python is gone; config.toml names it."""
STATE = "/var/lib/soci-bootstrap"
RECORD = f"{STATE}/record.json"
BACKUPS = f"{STATE}/backups"
HEALTH = f"{STATE}/state.json"
RUN = "/run/soci-bootstrap"
RESTART_OWED = f"{RUN}/restart-owed"
"""There while containerd runs wired but was started without SOCI."""
RESTARTED = f"{RUN}/restarted"
"""``RESTART_OWED`` after that restart; either holds the time of the start that asked for it."""
PLANNED = f"{RUN}/planned"
"""There once this boot was planned: nodeadm may have merged our drop-in into its cache since."""
FAILED_OPEN = f"{RUN}/failed-open"
"""There where the shell in containerd's drop-in had to unwire the node, until a hook records it."""
KUBELET_STOPPED = f"{RUN}/kubelet-stopped"
"""There while kubelet is down because a run of ours stopped it; a reboot starts it anyway."""
LOCK = "/run/lock/soci-bootstrap.lock"

# -- systemd ----------------------------------------------------------------------------------------

UNITS = "/etc/systemd/system"
BOOT_SERVICE = "soci-bootstrap.service"
CONTAINERD_SERVICE = "containerd.service"
KUBELET_SERVICE = "kubelet.service"
NODEADM_RUN_SERVICE = "nodeadm-run.service"
SOCI_SERVICE = "soci-snapshotter.service"
SOCI_SOCKET = "soci-snapshotter.socket"
UNIT_DROPIN = "50-soci-bootstrap.conf"
"""The name of our drop-in in any unit's ``.d`` directory, and in kubelet's configuration directory."""
CONTAINERD_DROPIN = f"{UNITS}/{CONTAINERD_SERVICE}.d/{UNIT_DROPIN}"
GATE_DROPIN = f"{UNITS}/{CONTAINERD_SERVICE}.d/10-soci-snapshotter.conf"
"""Written by nodeadm where its FastImagePull gate is on."""
JOURNAL = "/run/systemd/journal/socket"

# -- SOCI -------------------------------------------------------------------------------------------

DAEMON = "/usr/local/bin/soci-snapshotter-grpc"
AMI_DAEMON = "/usr/bin/soci-snapshotter-grpc"
SOCI_CONFIG = "/etc/soci-snapshotter-grpc/config.toml"
SOCI_CONFIG_BESIDE_GATE = "/etc/soci-snapshotter-grpc/soci-bootstrap.toml"
"""Ours where the FastImagePull gate owns ``SOCI_CONFIG``."""
SOCI_ADDRESS = "/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock"
SOCI_STORE = "/var/lib/soci-snapshotter-grpc"
"""SOCI keeps its own content store here, whatever its ``--root``."""
SOCI_ROOT_NAME = "io.containerd.snapshotter.v1.soci"

# -- containerd -------------------------------------------------------------------------------------

CONTAINERD_CONFIG = "/etc/containerd/config.toml"
CONTAINERD_ROOT = "/var/lib/containerd"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
CONTAINERD_ENDPOINT = f"unix://{CONTAINERD_SOCKET}"
CONTAINERD_VERSION = "/etc/eks/containerd-version.txt"
"""The output of ``containerd --version``, written when an AMI is built."""
SOCI_ROOT = f"{CONTAINERD_ROOT}/{SOCI_ROOT_NAME}"
CERTS_DIRECTORIES = "/etc/containerd/certs.d:/etc/docker/certs.d"
"""Where containerd 2.1 and newer looks for registries' hosts.toml where nothing is configured."""
CONTENT_STORE = "io.containerd.content.v1.content/blobs/sha256"
"""Below containerd's root, as ``OVERLAYFS_SNAPSHOTS`` is."""
OVERLAYFS_SNAPSHOTS = "io.containerd.snapshotter.v1.overlayfs/snapshots"

# -- nodeadm and kubelet ----------------------------------------------------------------------------

PAUSE_IMAGE = "/etc/eks/pause.tar"
NODECONFIG_CACHE = "/run/eks/nodeadm/config.json"
NODEADM_DROPINS = "/etc/eks/nodeadm.d"
NODEADM_DROPIN = f"{NODEADM_DROPINS}/50-soci-bootstrap.json"
KUBELET_CONFIG = "/etc/kubernetes/kubelet/config.json"
KUBELET_DROPINS = f"{KUBELET_CONFIG}.d"
KUBELET_NODEADM_DROPIN = "40-nodeadm.conf"

# -- the kernel -------------------------------------------------------------------------------------

BOOT_ID = "/proc/sys/kernel/random/boot_id"
MEMINFO = "/proc/meminfo"
MOUNTINFO = "/proc/self/mountinfo"
PYTHON = "/usr/bin/python3"

PLAIN = "an absolute path other than / and without .., of letters, digits and _.+:@,=~-"
_PLAIN = re.compile(r"(?:/[\w.+:@,=~-]+)+")


def is_plain(path: str) -> bool:
    """Tell whether a path means the same to systemd, TOML, mount tables and shells without quoting.

    systemd splits, expands and unquotes what stands in unit files.
    """
    return _PLAIN.fullmatch(path) is not None and os.path.normpath(path) == path
