#!/bin/sh
# deps.sh: installs the Debian packages that building and checking need, if any is missing.
set -eu
packages="build-essential pkg-config git ca-certificates python3 libnats-dev libuv1-dev libjson-c-dev libsodium-dev libhiredis-dev libpq-dev libssl-dev
 nats-server redis-server postgresql openssl curl groff-base iproute2"
# msgpack-c has another name in Debian 12 (trixie.sh names it, too).
case $(cat /etc/debian_version 2>/dev/null) in
12* | bookworm*) packages="$packages libmsgpack-dev" ;;
*) packages="$packages libmsgpack-c-dev" ;;
esac
# What only some targets need, named by them: make lint, fuzz, check-host, check-trixie, kube.
packages="$packages ${*:-}"
missing=
for p in $packages; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
sudo=
if [ "$(id -u)" != 0 ]; then
    sudo=sudo
    command -v sudo >/dev/null || { echo "deps: not root and no sudo; as root: apt-get install$missing" >&2; exit 1; }
fi
echo "deps: installing$missing" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The servers are only run by tests, on ports of their own: keep Debian from starting them.
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
    $sudo chmod 755 $policy
    made_policy=1
fi
rc=0
{ $sudo apt-get -q update && $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $missing; } \
    >"$log" 2>&1 || rc=$?
[ -n "$made_policy" ] && $sudo rm -f $policy
[ $rc = 0 ] || { tail -20 "$log" >&2; echo "deps: apt-get ended with status $rc" >&2; exit 1; }
