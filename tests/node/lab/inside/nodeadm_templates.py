"""What the nodeadm stand-in writes for containerd, SOCI and systemd."""

from __future__ import annotations

PAUSE = "localhost/kubernetes/pause:latest"
_SOCI_SOCKET = "/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock"

_COMMON = """
root = "/var/lib/containerd"
state = "/run/containerd"
grpc.address = "/run/containerd/containerd.sock"
"""
V3 = f"""
version = 3
{_COMMON}
[plugins."io.containerd.cri.v1.images"]
discard_unpacked_layers = true
pinned_images.sandbox = "{PAUSE}"
registry.config_path = "/etc/containerd/certs.d:/etc/docker/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
enable_cdi = true
cni = {{ bin_dir = "/opt/cni/bin", conf_dir = "/etc/cni/net.d" }}
[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
base_runtime_spec = "/etc/containerd/base-runtime-spec.json"
options = {{ BinaryName = "/usr/sbin/runc", SystemdCgroup = true }}
"""
V2 = f"""
version = 2
{_COMMON}
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
enable_cdi = true
registry.config_path = "/etc/containerd/certs.d:/etc/docker/certs.d"
cni = {{ bin_dir = "/opt/cni/bin", conf_dir = "/etc/cni/net.d" }}
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "runc"
discard_unpacked_layers = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
base_runtime_spec = "/etc/containerd/base-runtime-spec.json"
options = {{ BinaryName = "/usr/sbin/runc", SystemdCgroup = true }}
"""
_SOCI_PLUGIN = f"""
[proxy_plugins.soci]
type = "snapshot"
address = "{_SOCI_SOCKET}"
exports.root = "/var/lib/soci-snapshotter-grpc"
"""
SOCI_V3 = f"""
{_SOCI_PLUGIN}
[plugins."io.containerd.cri.v1.images"]
snapshotter = "soci"
disable_snapshot_annotations = false
"""
SOCI_V2 = f"""
{_SOCI_PLUGIN}
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "soci"
disable_snapshot_annotations = false
"""
SOCI_CONFIG = """
[content_store]
type = "containerd"
[cri_keychain]
enable_keychain = true
image_service_path = "/run/containerd/containerd.sock"
[pull_modes.parallel_pull_unpack]
enable = true
concurrent_download_chunk_size = "16mb"
discard_unpacked_layers = true
max_concurrent_downloads = -1
max_concurrent_downloads_per_image = 20
max_concurrent_unpacks = -1
max_concurrent_unpacks_per_image = 12
[pull_modes.parallel_pull_unpack.decompress_streams."gzip"]
path = "/usr/bin/unpigz"
args = ["-d", "-c"]
"""
SOCI_DEPENDENCY = """[Unit]
Requires=soci-snapshotter.service
After=soci-snapshotter.service
"""
_DROPIN = "/etc/systemd/system/{}.service.d/environment.conf"
ENVIRONMENT = (
    ("default", "/etc/systemd/system.conf.d/environment.conf", "[Manager]", "DefaultEnvironment"),
    ("containerd", _DROPIN.format("containerd"), "[Service]", "Environment"),
    ("kubelet", _DROPIN.format("kubelet"), "[Service]", "Environment"),
)
