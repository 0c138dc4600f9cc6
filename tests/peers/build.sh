#!/bin/sh
# build.sh: builds peers once, and keeps them outside the tree.
#
#   build.sh [NAME]...           builds those whose sources have not been built yet; prints their paths
#   build.sh --check [NAME]...   prints their paths if they are there, else ends with exit code 1 (or 3)
#
# Names: lattice-host, component and load, which are meant without one; wrpc-29 and wrpc-31, which call
# our programs and are called; wasm-tools, the WIT parser that witc is compared with.
# Exit code 3: they are not there, and this machine lacks what it takes to build them.
set -eu
cd "$(dirname "$0")"

MIN_RUST=89 # 1.89, which one of the locked packages asks for
WASM=wasm32-wasip2
WASM_TOOLS=1.263.0 # tests/wit/check.py knows by what it differs from witc

cache=${XDG_CACHE_HOME:-$HOME/.cache}/outrigger/peers
export CARGO_TARGET_DIR="$cache/target"
built=$CARGO_TARGET_DIR/release

skip() {
    echo "peers: skipped: $1" >&2
    exit 3
}

# From here on the name of the peer is in $name.
path_of() {
    case $name in
    wasm-tools) echo "${cache%/peers}/wasm-tools-$WASM_TOOLS/bin/wasm-tools" ;;
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
    component)
        [ -d "$(rustc --print sysroot)/lib/rustlib/$WASM" ] || rustup target add $WASM ||
            skip "rustc has no target $WASM, and rustup could not add it"
        cargo build --release --locked -p component --target $WASM
        cp "$CARGO_TARGET_DIR/$WASM/release/component.wasm" "$1"
        ;;
    wrpc-31) # has a lock file of its own
        (cd wrpc-31 && cargo build --release --locked)
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
for name in "$@"; do
    path=$(path_of)
    if [ ! -s "$path" ]; then
        command -v cargo >/dev/null && command -v rustc >/dev/null ||
            skip "cargo is missing (https://rustup.rs)"
        [ -z "$check" ] || exit 1
        version=$(rustc --version | cut -d' ' -f2)
        minor=$(echo "$version" | cut -d. -f2)
        [ "$minor" -ge $MIN_RUST ] || skip "rustc $version is too old, 1.$MIN_RUST is needed"
        [ -z "$check" ] || exit 1
        echo "peers: building $name in $CARGO_TARGET_DIR (the first time on 2 cores: 15 minutes for lattice-host, 5 for others)" >&2
        mkdir -p "${path%/*}"
        build "$path.new" >&2
        mv "$path.new" "$path"
    fi
    echo "$path"
done
