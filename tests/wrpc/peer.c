/* peer.c: a provider and a caller on the SDK, for make check-peers.
 *
 *     wrpc-peer [option]...                          serves, as any provider (--help)
 *     wrpc-peer call nats://HOST:PORT ID SCRIPT      calls the provider ID of the lattice "default"
 *     wrpc-peer call unix:PATH|tcp:HOST:PORT SCRIPT */
#include "peer.h"
#include <string.h>

uint8_t peer_pattern(size_t i)
{
    return (uint8_t)(i * 31 + 7);
}

int main(int argc, char **argv)
{
    if (argc >= 4 && strcmp(argv[1], "call") == 0)
        return peer_call(argv[2], argc > 4 ? argv[3] : NULL, argv[argc - 1]);
    return wcp_main(argc, argv,
                    &(struct wcp_provider){
                        .name = "wrpc-peer", .exports = peer_exports, .serves_anyone = true});
}
