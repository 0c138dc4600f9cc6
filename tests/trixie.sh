#!/bin/sh
# trixie.sh: make check inside a Debian 13 chroot. The chroot is made once and kept in the cache, keyed by its package list.
set -eu
cd "$(dirname "$0")/.."
packages=$(sed -n '/^packages="build-essential/,/"$/p' tests/deps.sh | tr -d '\n' | sed 's/^packages="//; s/"$//')
packages="$packages libmsgpack-c-dev"
key=$(printf %s "$packages" | sha256sum | cut -c1-12)
root=${XDG_CACHE_HOME:-$HOME/.cache}/outrigger/trixie-$key
[ "$(id -u)" = 0 ] || { echo "check-trixie: a chroot needs root: sudo make check-trixie" >&2; exit 1; }
mkdir -p "${root%/*}"
exec 9>"$root.lock"
flock 9 # one run at a time: they share the folder
if [ ! -e "$root/.complete" ]; then
    echo "check-trixie: making a Debian 13 chroot in $root" >&2
    rm -rf "$root" && mkdir -p "$root"
    mirror=$(grep -rhoE '^(deb .*|URIs: *)?https?://[^ ]*/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null |
        grep -oE 'https?://[^ ]*' | head -n 1)
    mmdebstrap --mode=root --variant=minbase --include="$(echo $packages | tr ' ' ',')" \
        --aptopt='Apt::Install-Recommends "false"' trixie "$root" ${mirror:+"$mirror"}
    touch "$root/.complete"
fi
work=$root/work
rm -rf "$work" && mkdir -p "$work"
{ git ls-files -z; git ls-files -z --others --exclude-standard; } | tar --null --ignore-failed-read -T - -cf - | tar -xf - -C "$work"
# /dev and /proc are all that the tests need. They are mounted in a namespace of this run alone, and its processes are, too: both
# are gone when it ends, however it ends.
exec unshare --mount --pid --fork --kill-child sh -eu -c '
    mount -t proc proc "$1/proc"
    mount --rbind /dev "$1/dev"
    exec chroot "$1" env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
        make -C /work --no-print-directory "$2"' sh "$root" "${1:-check}" 9>&-
