#!/bin/sh
# build.sh: builds peers once, and keeps them outside the tree.
#
#   build.sh [NAME]...           builds those whose sources have not been built yet; prints their paths
#   build.sh --check [NAME]...   prints their paths if they are there, else ends with exit code 1 (or 3)
#
# Names: lattice-host, component and load, which are meant without one; wrpc-29 and wrpc-31, which call
# our programs and are called; wasm-tools, the WIT parser that witc is compared with; nats-server, one that
# is newer than Debian's; wadm-server, which deploys applications; wash, the operator's tool of wasmCloud.
# Exit code 3: they are not there, and this machine lacks what it takes to build them.
set -eu
cd "$(dirname "$0")"

MIN_RUST=89 # 1.89, which one of the locked packages asks for
WASM=wasm32-wasip2
WASM_TOOLS=1.263.0 # tests/wit/check.py knows by what it differs from witc
MIN_GO=25 # 1.25, which nats-server asks for
WASH=0.43.0 # the last of wasmCloud 1.x

cache=${XDG_CACHE_HOME:-$HOME/.cache}/outrigger/peers
export CARGO_TARGET_DIR="$cache/target"
built=$CARGO_TARGET_DIR/release

skip() {
    echo "peers: skipped: $1" >&2
    exit 3
}

# A compiler, the version that it says, the least minor one that will do, and where to get it.
needs() {
    command -v "$1" >/dev/null || skip "$1 is missing ($4)"
    minor=$(echo "$2" | sed -n 's/^[^0-9]*1\.\([0-9]*\).*/\1/p')
    [ "${minor:-0}" -ge "$3" ] || skip "${2:-$1} is too old, 1.$3 is needed ($4)"
}

# From here on the name of the peer is in $name.
path_of() {
    case $name in
    wasm-tools) echo "${cache%/peers}/wasm-tools-$WASM_TOOLS/bin/wasm-tools" ;;
    wash) echo "${cache%/peers}/wash-$WASH/bin/wash" ;;
    nats-server) key=$(sha256sum nats-server/go.* | sha256sum | cut -c1-16) && echo "$cache/$key/$name" ;;
    component) key=$(/usr/bin/python3 key.py "$name") && echo "$cache/$key/component.wasm" ;;
    *) key=$(/usr/bin/python3 key.py "$name") && echo "$cache/$key/$name" ;;
    esac
}

build() {
    case $name in
    wasm-tools)
        cargo install --locked --version $WASM_TOOLS --no-default-features --features component \
            --no-track --root "$cache/new" wasm-tools
        cp "$cache/new/bin/wasm-tools" "$1"
        rm -rf "$cache/new"
        ;;
    wash)
        CARGO_PROFILE_RELEASE_OPT_LEVEL=0 cargo install --locked --version $WASH --no-track --root "$cache/new" wash
        cp "$cache/new/bin/wash" "$1"
        rm -rf "$cache/new"
        ;;
    nats-server)
        (cd nats-server && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$1" github.com/nats-io/nats-server/v2)
        ;;
    component)
        [ -d "$(rustc --print sysroot)/lib/rustlib/$WASM" ] || rustup target add $WASM ||
            skip "rustc has no target $WASM, and rustup could not add it"
        cargo build --release --locked -p component --target $WASM
        cp "$CARGO_TARGET_DIR/$WASM/release/component.wasm" "$1"
        ;;
    wadm-server | wrpc-31) # have lock files of their own
        (cd "${name%-server}" && cargo build --release --locked)
        cp "$built/$name" "$1"
        ;;
    *)
        cargo build --release --locked -p "$name"
        cp "$built/$name" "$1"
        ;;
    esac
}

check=
if [ "${1-}" = --check ]; then
    check=1
    shift
fi
[ $# -gt 0 ] || set -- lattice-host component load
missing=
for name in "$@"; do
    path=$(path_of)
    if [ ! -s "$path" ]; then
        if [ "$name" = nats-server ]; then
            needs go "$(go env GOVERSION 2>/dev/null)" $MIN_GO https://go.dev/dl
            takes="2 minutes"
        else
            needs cargo "$(rustc --version 2>/dev/null)" $MIN_RUST https://rustup.rs
            takes="15 minutes for lattice-host and wash, 5 for others"
        fi
        [ -z "$check" ] || { missing=1 && continue; }
        echo "peers: building $name in $cache (the first time on 2 cores: $takes)" >&2
        mkdir -p "${path%/*}"
        build "$path.new" >&2
        mv "$path.new" "$path"
    fi
    echo "$path"
done
[ -z "$missing" ] || exit 1
