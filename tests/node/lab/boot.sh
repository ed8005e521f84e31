# Runs as the first process in a node's namespaces and becomes its systemd.
# In: ROOT LAYERS UPPER WORK VARLIB ARRAY NODE_ENV
set -e
hostname node
mount -t overlay overlay -o "lowerdir=$LAYERS,upperdir=$UPPER,workdir=$WORK" "$ROOT"
cd "$ROOT"
# containerd's overlayfs snapshotter can't put its upper directories upon an overlay.
mount --bind "$VARLIB" var/lib
mkdir -p opt/lab/array .host
mount --bind "$ARRAY" opt/lab/array
mount -t proc proc proc
# Many sysctls are the whole machine's, not the node's.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm dev/mqueue
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/tty c 5 0
mknod -m 666 dev/fuse c 10 229
ln -s pts/ptmx dev/ptmx
ln -s null dev/console
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
[ -e etc/resolv.conf ] || : > etc/resolv.conf
pivot_root . .host
exec chroot . /bin/sh -c 'umount -l /.host && rmdir /.host
exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin $NODE_ENV \
    /lib/systemd/systemd --system --show-status=false --log-target=journal' </dev/null
