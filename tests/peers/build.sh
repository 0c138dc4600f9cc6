#!/bin/sh
# build.sh: builds the peers (lattice-host, component.wasm, load) once, and keeps them outside the tree.
#
#   build.sh                       builds them if these sources have not been built yet; prints their paths
#   build.sh --wasm-tools          the same of the WIT parser that witc is compared with
#   build.sh [--wasm-tools] --check   prints the paths if they are there, else ends with exit code 1
#
# Exit code 3: they are not there, and this machine lacks what it takes to build them.
set -eu
cd "$(dirname "$0")"

MIN_RUST=89 # 1.89, which one of the locked packages asks for
WASM=wasm32-wasip2

cache=${XDG_CACHE_HOME:-$HOME/.cache}/outrigger/peers
key=$(find Cargo.toml Cargo.lock host component load -type f | LC_ALL=C sort |
    xargs sha256sum | sha256sum | cut -c1-16)
out=$cache/$key

WASM_TOOLS=1.263.0 # tests/wit/check.py knows by what it differs from witc

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
    export CARGO_TARGET_DIR="$cache/target"
}

if [ "${1-}" = --wasm-tools ]; then
    tools=${cache%/peers}/wasm-tools-$WASM_TOOLS
    if [ ! -x "$tools/bin/wasm-tools" ]; then
        [ "${2-}" != --check ] || exit 1
        need_cargo
        echo "peers: building wasm-tools $WASM_TOOLS in $cache/target (about 5 minutes on 2 cores)" >&2
        rm -rf "$tools.new"
        nice cargo install --locked --version $WASM_TOOLS --no-default-features --features component \
            --no-track --root "$tools.new" wasm-tools >&2
        rm -rf "$tools"
        mv "$tools.new" "$tools"
    fi
    echo "$tools/bin/wasm-tools"
    exit
fi

built() {
    [ -x "$out/lattice-host" ] && [ -x "$out/load" ] && [ -s "$out/component.wasm" ]
}

if [ "${1-}" = --check ] && ! built; then
    exit 1
fi
if ! built; then
    need_cargo
    [ -d "$(rustc --print sysroot)/lib/rustlib/$WASM" ] ||
        rustup target add $WASM >&2 ||
        skip "rustc has no target $WASM, and rustup could not add it"

    echo "peers: building in $cache/target (about 15 minutes on 2 cores the first time)" >&2
    cargo build --release --locked -p lattice-host >&2
    cargo build --release --locked -p load >&2
    cargo build --release --locked -p component --target $WASM >&2

    rm -rf "$out.new"
    mkdir -p "$out.new"
    cp "$cache/target/release/lattice-host" "$cache/target/release/load" "$out.new"
    cp "$cache/target/$WASM/release/component.wasm" "$out.new"
    rm -rf "$out"
    mv "$out.new" "$out"
fi
printf '%s\n' "$out/lattice-host" "$out/component.wasm" "$out/load"
