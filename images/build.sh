#!/bin/sh
# build.sh: makes the container image of keyvalue-redis from the executable and Debian's packages.
#
#   build.sh [EXECUTABLE [NAME]]    default: build/bin/keyvalue-redis, and as name
#                                   localhost/outrigger/keyvalue-redis:dev
#
# The packages' copyright and status files go in as well: the licences ask for the first, and
# scanners that look for known defects read the second.
set -eu
umask 022
cd "$(dirname "$0")/.."
exe=${1-build/bin/keyvalue-redis}
name=${2-localhost/outrigger/keyvalue-redis:dev}
context=build/image
root=$context/rootfs
certificates=/etc/ssl/certs/ca-certificates.crt

for file in "$exe" $certificates; do
    [ -r "$file" ] || { echo "images: $file is not there" >&2; exit 1; }
done

rm -rf "$root"
mkdir -p "$root/usr/bin" "$root/usr/lib" "$root/usr/lib64" "$root/etc/ssl/certs" \
    "$root/usr/share/doc" "$root/var/lib/dpkg/status.d"
ln -s usr/bin usr/lib usr/lib64 "$root/"
cp "$exe" "$root/usr/bin/keyvalue-redis"
cp $certificates "$root/etc/ssl/certs/"
echo 'nonroot:x:65532:65532:nonroot:/:/sbin/nologin' >"$root/etc/passwd"
echo 'nonroot:x:65532:' >"$root/etc/group"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"

# ldd prints "name => path (address)", and for the loader itself "path (address)".
libraries=$(ldd "$exe" | grep -o '/[^ ]*')
packages=ca-certificates
for library in $libraries; do
    mkdir -p "$root/$(dirname "$library")"
    cp -L "$library" "$root/$library"
    # dpkg may know the file under its real name, or under the name from before the /usr merge.
    for name_of_file in "$library" "$(realpath "$library")" "/usr$library"; do
        packages="$packages $(dpkg -S "$name_of_file" 2>/dev/null || true)"
    done
done
for package in $(printf '%s\n' $packages | sed -n 's/:.*//; /^[a-z0-9]/p' | sort -u); do
    mkdir -p "$root/usr/share/doc/$package"
    cp -L "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/"
    dpkg -s "$package" >"$root/var/lib/dpkg/status.d/$package"
done

podman build --quiet --tag "$name" --file images/Containerfile "$context" >/dev/null
echo "$name"
