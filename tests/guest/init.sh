#!/bin/busybox sh
# The first process of the guest: mounts the disk, then does what it is told, one line at a time.
#
# Orders come over the second serial port, and each is answered by one line there. An answer is given
# only when what was ordered is durable: written, and fsync has returned. The kernel has the first
# serial port to itself, so its messages are never taken for an answer.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec >/dev/ttyS0 2>&1 </dev/null
for module in $(cat /modules/order); do
    insmod "/modules/$module"
done
stty -F /dev/ttyS1 raw -echo
exec 3<>/dev/ttyS1

answer() {
    echo "$*" >&3
}

# A bad word on the kernel's command line, a disk that is not there, a file system that does not mount:
# all of them end here, and the host hears why.
give_up() {
    answer "cannot $*"
    sleep 5
    poweroff -f
}

[ -b /dev/vda ] || give_up "find the disk"
if grep -q 'make-file-system' /proc/cmdline; then
    /sbin/mke2fs -q -t ext4 -E lazy_itable_init=1 /dev/vda || give_up "make the file system"
fi
mount -t ext4 /dev/vda /disk || give_up "mount the disk"
answer "ready $(uname -r)"

# new NAME BLOCKS: a file of so many blocks of 4 KiB that no other file has.
new() {
    dd if=/dev/urandom of="/disk/$1" bs=4096 count="$2" conv=fsync && sync /disk
}

# patch NAME FIRST BLOCKS: new bytes in the middle of a file, in place.
patch() {
    dd if=/dev/urandom of="/disk/$1" bs=4096 seek="$2" count="$3" conv=notrunc,fsync
}

# The checksum is of what the guest wrote: it still is in its memory.
durable() {
    sum=$(sha256sum <"/disk/$1") && answer "durable $1 ${sum%% *}"
}

while read -r order name first blocks <&3; do
    case "$order" in
    new) new "$name" "$first" && durable "$name" ;;
    patch) patch "$name" "$first" "$blocks" && durable "$name" ;;
    # loose NAME BLOCKS: nothing is promised about it, it only keeps the disk busy.
    loose) dd if=/dev/urandom of="/disk/$name" bs=4096 count="$first" && answer "loose $name" ;;
    delete) rm -f "/disk/$name" && sync /disk && answer "gone $name" ;;
    # trim OFFSET: gives up what is free in 16 MiB of the file system.
    trim) fstrim -o "$name" -l 16777216 /disk && answer "trimmed $name" ;;
    stop)
        umount /disk && answer "stopped $name"
        sleep 1
        poweroff -f
        ;;
    *) false ;;
    esac || answer "failed $order $name"
done
