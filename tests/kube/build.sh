#!/bin/sh
# build.sh: builds k8slab, the parts of Kubernetes in one executable, once, and keeps it outside the tree.
#
#   build.sh           builds it if these sources have not been built yet; prints its path
#   build.sh --check   prints its path if it is there, else ends with exit code 1
#
# Exit code 3: it is not there, and this machine lacks what it takes to build it.
set -eu
cd "$(dirname "$0")/lab"

MIN_GO=24 # 1.24, which k8s.io/kubernetes asks for

cache=${XDG_CACHE_HOME:-$HOME/.cache}/outrigger/kube
key=$(sha256sum go.mod go.sum main.go | sha256sum | cut -c1-16)
exe=$cache/$key/k8slab

if [ ! -x "$exe" ]; then
    skip() {
        echo "kube: skipped: $1" >&2
        exit 3
    }
    command -v go >/dev/null || skip "go is missing, 1.$MIN_GO or later is needed (https://go.dev/dl)"
    version=$(go env GOVERSION)
    [ "$(echo "$version" | cut -d. -f2)" -ge $MIN_GO ] || skip "$version is too old, 1.$MIN_GO is needed (https://go.dev/dl)"
    [ "${1-}" != --check ] || exit 1

    echo "kube: building Kubernetes in $cache (about 10 minutes on 2 cores the first time)" >&2
    mkdir -p "$cache/$key"
    # The parts compare their versions with each other's, and without this all are 0.0.
    release=$(sed -n 's/^[[:space:]]*k8s.io\/kubernetes v//p' go.mod)
    minor=${release#*.}
    at=k8s.io/component-base/version
    CGO_ENABLED=0 nice go build -p 2 -trimpath -o "$exe.$$" -ldflags "-s -w -X $at.gitVersion=v$release \
        -X $at.gitMajor=${release%%.*} -X $at.gitMinor=${minor%%.*}" .
    mv "$exe.$$" "$exe"
fi
echo "$exe"
