#!/bin/sh
# build.sh: makes the container image of a provider from its executable and Debian's packages.
#
#   build.sh EXECUTABLE [NAME]    default name: localhost/outrigger/<executable>:dev
#
# The packages' copyright and status files go in as well: the licences ask for the first, and
# scanners that look for known defects read the second.
#
# The same commit and packages make the same image, bit by bit: every time in it is the commit's, or
# SOURCE_DATE_EPOCH.
set -eu
umask 022
cd "$(dirname "$0")/.."
exe=${1:?usage: build.sh EXECUTABLE [NAME]}
provider=$(basename "$exe")
name=${2-localhost/outrigger/$provider:dev}
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
strip -o "$root/usr/bin/$provider" "$exe"
# Where objects are unless a link or the provider's configuration says otherwise; mount a volume.
mkdir -m 1777 "$root/tmp"
sed "s/PROVIDER/$provider/" images/Containerfile >"$context/Containerfile"
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

revision=$(git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
set -- "title=$provider" "description=wasmCloud capability provider: $provider" \
    licenses=Apache-2.0 "version=$("$exe" --version | cut -d' ' -f2)" "revision=$revision" \
    "created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)"
# Registries show the annotations of the manifest, engines the labels of the image.
for pair in "$@"; do
    set -- "$@" --label "org.opencontainers.image.$pair" --annotation "org.opencontainers.image.$pair"
    shift
done
podman build --quiet --identity-label=false --timestamp "$epoch" "$@" --tag "$name" --file "$context/Containerfile" "$context" >/dev/null
echo "$name"
