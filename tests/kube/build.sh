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
    [ "${1-}" != --check ] || exit 1
    skip() {
        echo "kube: skipped: $1" >&2
        exit 3
    }
    command -v go >/dev/null || skip "go is missing, 1.$MIN_GO or later is needed (https://go.dev/dl)"
    minor=$(go env GOVERSION | cut -d. -f2)
    [ "$minor" -ge $MIN_GO ] || skip "$(go env GOVERSION) is too old, 1.$MIN_GO is needed (https://go.dev/dl)"

    echo "kube: building Kubernetes in $cache (about 10 minutes on 2 cores the first time)" >&2
    mkdir -p "$cache/$key"
    # Unset, the version is v0.0.0, and the API server takes it for older than what is stored.
    version=$(sed -n 's/.* k8s.io\/kubernetes v//p; s/^\tk8s.io\/kubernetes v//p' go.mod)
    at=k8s.io/component-base/version
    CGO_ENABLED=0 nice go build -p 2 -trimpath -o "$exe.new" -ldflags "-s -w -X $at.gitVersion=v$version \
        -X $at.gitMajor=${version%%.*} -X $at.gitMinor=$(echo "$version" | cut -d. -f2)" .
    mv "$exe.new" "$exe"
fi
echo "$exe"
