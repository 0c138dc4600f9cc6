#!/bin/sh
# build.sh: builds peers once, and keeps them outside the tree.
#
#   build.sh [NAME]...           builds those whose sources have not been built yet; prints their paths
#   build.sh --check [NAME]...   prints their paths if they are there, else ends with exit code 1
#
# Names: lattice-host, component and load, which are meant without one; wrpc-29, wrpc-31.
# Exit code 3: they are not there, and this machine lacks what it takes to build them.
set -eu
cd "$(dirname "$0")"

MIN_RUST=89 # 1.89, which one of the locked packages asks for
WASM=wasm32-wasip2

cache=${XDG_CACHE_HOME:-$HOME/.cache}/outrigger/peers
export CARGO_TARGET_DIR="$cache/target"

skip() {
    echo "peers: skipped: $1" >&2
    exit 3
}

need_cargo() {
    command -v cargo >/dev/null && command -v rustc >/dev/null ||
        skip "cargo is missing (https://rustup.rs)"
    version=$(rustc --version | cut -d' ' -f2)
    minor=$(echo "$version" | cut -d. -f2)
    [ "$minor" -ge $MIN_RUST ] || skip "rustc $version is too old, 1.$MIN_RUST is needed"
}

# build NAME TO [ARGUMENT OF CARGO]...: into the file TO, from a folder of that name if it has a lock of its own
build() {
    name=$1 to=$2
    shift 2
    need_cargo
    echo "peers: building $name in $CARGO_TARGET_DIR (lattice-host: about 15 minutes on 2 cores the first time)" >&2
    dir=.
    [ ! -e "$name/Cargo.lock" ] || dir=$name
    (cd "$dir" && nice cargo build --release --locked -p "$name" "$@" >&2)
    mkdir -p "$(dirname "$to")"
    case $name in
    component) cp "$CARGO_TARGET_DIR/$WASM/release/component.wasm" "$to.new" ;;
    *) cp "$CARGO_TARGET_DIR/release/$name" "$to.new" ;;
    esac
    mv "$to.new" "$to"
}

check=
if [ "${1-}" = --check ]; then
    check=1
    shift
fi
[ $# -gt 0 ] || set -- lattice-host component load
keys=$(/usr/bin/python3 key.py "$@") # fails for a name that is none
for name in "$@"; do
    key=$(echo "$keys" | head -n 1)
    keys=$(echo "$keys" | tail -n +2)
    path=$cache/$key/$name
    [ "$name" != component ] || path=$path.wasm
    if [ ! -s "$path" ]; then
        [ -z "$check" ] || exit 1
        if [ "$name" = component ]; then
            need_cargo
            [ -d "$(rustc --print sysroot)/lib/rustlib/$WASM" ] ||
                rustup target add $WASM >&2 ||
                skip "rustc has no target $WASM, and rustup could not add it"
            build "$name" "$path" --target $WASM
        else
            build "$name" "$path"
        fi
    fi
    echo "$path"
done
