#!/bin/sh
# What cold installs are compared with: a plain script that does by hand what install does to the disk.
# baseline.sh ROOT URL SHA256. It is written to be fast: the binary is unpacked straight into its place, and
# nothing is fsynced, checked, recorded or tried out.
set -eu
root=${1%/} url=$2 sha256=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bin=$root/usr/local/bin units=$root/etc/systemd/system

curl -fsSL -o "$work/soci.tar.gz" "$url"
echo "$sha256  $work/soci.tar.gz" | sha256sum --check --quiet
mkdir -p "$bin" "$units/containerd.service.d" "$units/containerd.service.wants" "$units/sockets.target.wants" \
    "$root/etc/soci-snapshotter-grpc" "$root/etc/eks/nodeadm.d"
tar -C "$bin" -xzf "$work/soci.tar.gz" soci-snapshotter-grpc
chmod 755 "$bin/soci-snapshotter-grpc"

cat >"$root/etc/soci-snapshotter-grpc/config.toml" <<'EOF'
[content_store]
type = "containerd"

[cri_keychain]
enable_keychain = true
image_service_path = "/run/containerd/containerd.sock"

[pull_modes.parallel_pull_unpack]
enable = true
max_concurrent_downloads_per_image = 20
concurrent_download_chunk_size = "16mb"
max_concurrent_unpacks_per_image = 12

[pull_modes.parallel_pull_unpack.decompress_streams."gzip"]
path = "/usr/bin/unpigz"
args = ["-d", "-c"]
EOF
cat >"$units/soci-snapshotter.service" <<'EOF'
[Unit]
Description=SOCI snapshotter
Before=containerd.service

[Service]
Type=notify
ExecStart=/usr/local/bin/soci-snapshotter-grpc --address fd:// --config /etc/soci-snapshotter-grpc/config.toml \
    --root /var/lib/containerd/io.containerd.snapshotter.v1.soci
Restart=always

[Install]
WantedBy=containerd.service
EOF
cat >"$units/soci-snapshotter.socket" <<'EOF'
[Socket]
ListenStream=/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock
SocketMode=0660

[Install]
WantedBy=sockets.target
EOF
cat >"$units/containerd.service.d/50-soci.conf" <<'EOF'
[Unit]
Wants=soci-snapshotter.service
After=soci-snapshotter.service
EOF
cat >"$root/etc/eks/nodeadm.d/50-soci.json" <<'EOF'
{"apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig", "spec": {"containerd": {"config":
"[proxy_plugins.soci]\ntype = \"snapshot\"\naddress = \"/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock\"\n[proxy_plugins.soci.exports]\nroot = \"/var/lib/containerd/io.containerd.snapshotter.v1.soci\"\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = \"soci\"\ndisable_snapshot_annotations = false\n"},
"kubelet": {"config": {"imageServiceEndpoint": "unix:///run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock"}}}}
EOF
if [ -z "$root" ]; then
    systemctl daemon-reload
    systemctl enable --quiet soci-snapshotter.socket soci-snapshotter.service
    systemctl start soci-snapshotter.socket
else
    ln -sf ../soci-snapshotter.service "$units/containerd.service.wants/"
    ln -sf ../soci-snapshotter.socket "$units/sockets.target.wants/"
fi
