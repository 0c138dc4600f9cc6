#!/bin/sh
# layers.sh: includes point one way: base <- rpc <- lattice <- io <- cli; providers see public headers only.
set -eu
bad=0
forbid() { # folder, pattern of forbidden includes, why
    found=$(grep -rnE "^#include [<\"]($2)" $1 --include='*.[ch]' 2>/dev/null || true)
    [ -z "$found" ] || { echo "layers: $3:"; echo "$found"; bad=1; }
}
forbid sdk/src/base 'rpc/|lattice/|io/|json-c|sodium|uv\.h|nats' 'base includes only libc and public headers'
forbid sdk/src/rpc 'lattice/|io/|json-c|sodium|uv\.h|nats' 'rpc includes only base'
forbid sdk/src/lattice 'io/|uv\.h|nats' 'lattice includes only base and rpc'
forbid sdk/include 'rpc/|lattice/|io/|base/|json-c|sodium|uv\.h|nats|hiredis' 'public headers include only each other'
forbid sdk/wit 'rpc/|lattice/|io/|uv\.h|nats' 'wit includes only base'
forbid sdk/wave 'lattice/|io/|cli/|uv\.h|nats' 'wave includes only wit, rpc and base'
forbid sdk/witc 'rpc/|lattice/|io/|uv\.h|nats' 'witc includes only wit and base'
forbid 'providers sdk/examples' 'base/|rpc/|lattice/|io/|nats' 'providers include only public and generated headers'
forbid sdk/adapters 'base/|rpc/|lattice/|io/|nats' 'adapters include only public headers and their library'
nats=$(grep -rlE '^#include <nats' sdk --include='*.[ch]' | grep -vE '^sdk/src/io/nats(_messages\.c|_login\.[ch]|_conn\.h|\.c)$' || true)
[ -z "$nats" ] || { echo "layers: only io/nats.c and its parts include nats.h: $nats"; bad=1; }
exit $bad
