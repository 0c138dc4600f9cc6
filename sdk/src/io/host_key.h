/* host_key.h: the key by which the lattice knows a provider that no host stands for. */
#ifndef HOST_KEY_H
#define HOST_KEY_H

#include "lattice/xkey.h"

/* The N... id of the key in the file; path NULL: of a fresh one. The file holds a seed, SN..., and
 * is made if it is missing. It stays locked as long as *lock, a descriptor, is open; while another
 * process holds it we get a fresh key and a warning, since two hosts with one id cannot be told
 * apart. *lock is -1 without a file of ours. */
int host_key_open(const char *path, char id[NKEY_PUBLIC_LEN + 1], int *lock, struct wcp_err *err);

#endif
