"""The nodeadm stand-in's local disks: state moved to an "array" (/opt/lab/array) and bind-mounted back."""

from __future__ import annotations

import os
import subprocess
from typing import Any

ARRAY = "/mnt/k8s-disks/0"
SOCI_SINCE = 20251208
"""AMIs before it neither move SOCI's directory nor stop its daemon."""


def set_up(storage: dict[str, Any], generation: int) -> None:
    if storage.get("strategy", "").upper() != "RAID0":
        return
    mount("/opt/lab/array", ARRAY)
    moves = [
        ("Containerd", "/var/lib/containerd", "containerd.service"),
        ("PodLogs", "/var/log/pods", "kubelet.service"),
        ("SOCI", "/var/lib/soci-snapshotter-grpc", "soci-snapshotter.service"),
        ("", "/var/lib/kubelet", "kubelet.service"),
    ]
    if generation < SOCI_SINCE:
        del moves[2]
    moves = [
        move for move in moves if move[0] not in storage.get("disabledMounts", []) and not mounted(move[1])
    ]
    running = [unit for _, _, unit in moves if active(unit)]
    if running:
        subprocess.run(["systemctl", "stop", *running], check=True)
    for _, path, _ in moves:
        target = f"{ARRAY}/{os.path.basename(path)}"
        os.makedirs(path, 0o750, exist_ok=True)
        os.makedirs(target, 0o750, exist_ok=True)
        subprocess.run(["cp", "-a", f"{path}/.", target], check=True)
        mount(target, path)
    if running:
        subprocess.run(["systemctl", "start", *running], check=True)


def mount(what: str, where: str) -> None:
    if mounted(where):
        return
    unit = subprocess.run(
        ["systemd-escape", "--path", "--suffix=mount", where], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    os.makedirs(where, 0o750, exist_ok=True)
    after = "" if where == ARRAY else f"RequiresMountsFor={ARRAY}\n"
    with open(f"/etc/systemd/system/{unit}", "w") as target:
        target.write(
            f"[Unit]\n{after}[Mount]\nWhat={what}\nWhere={where}\nType=none\nOptions=bind\n[Install]\nWantedBy=multi-user.target\n"
        )
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    subprocess.run(["systemctl", "enable", "--now", "--quiet", unit], check=True)


def mounted(path: str) -> bool:
    with open("/proc/self/mountinfo") as mounts:
        return any(line.split()[4] == path for line in mounts)


def active(unit: str) -> bool:
    return subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode == 0
