#!/bin/sh
# Becomes systemd as process 1 of a small machine: this machine's /usr, read-only, and nothing else of it. To be run by
# systemd_machine.py, as root, with namespaces of its own for everything but users.
#
#   systemd_machine.sh ROOT PROGRAM     ROOT is an empty directory, PROGRAM lies in /usr/local/bin there
set -eu
root=$1 program=$2

mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
cp "$program" "$root/program"
cd "$root"
mkdir -m 755 dev etc mnt proc run sys usr var
mkdir -m 700 root
mkdir -m 1777 tmp
for name in bin lib lib64 sbin; do
    ln -s "usr/$name" "$name"
done

mount --bind /usr usr
mount -o remount,bind,ro usr
mount -t tmpfs -o mode=755 tmpfs usr/local/bin
mv program usr/local/bin/registryd
chmod 755 usr/local/bin/registryd

mount -t proc -o nosuid,nodev,noexec proc proc
# What is set there holds for the whole kernel, and systemd sets some at boot.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs run

mount -t tmpfs -o mode=755,nosuid tmpfs dev
for name in full null random tty urandom zero; do
    : >"dev/$name"
    mount --bind "/dev/$name" "dev/$name"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd

cat >etc/passwd <<END
root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/:/usr/sbin/nologin
END
cat >etc/group <<END
root:x:0:
nogroup:x:65534:
END
cat >etc/nsswitch.conf <<END
passwd: files systemd
group: files systemd
hosts: files
END
echo 127.0.0.1 localhost registry.lan >etc/hosts
# Without one it would be the first boot, and every unit of every package be enabled.
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
mkdir -p etc/systemd/system

ip link set lo up
mkdir mnt/host
pivot_root . mnt/host
cd /
umount -l /mnt/host
rmdir /mnt/host
mount --make-rshared /
# Nor may it change the kernel or the clock.
exec env -i container=check PATH=/usr/local/bin:/usr/sbin:/usr/bin \
    setpriv --bounding-set=-sys_module,-sys_rawio,-sys_time /lib/systemd/systemd --system --log-target=console
