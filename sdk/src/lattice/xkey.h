/* xkey.h: nkeys as text (lattice.md §2.1) and xkey boxes (§2.2). */
#ifndef XKEY_H
#define XKEY_H

#include <wcp/base.h>

#define NKEY_SERVER     (13 << 3) /* N... */
#define NKEY_USER       (20 << 3) /* U... */
#define NKEY_CURVE      (23 << 3) /* X... */
#define NKEY_PUBLIC_LEN 56
#define NKEY_SEED_LEN   58

/* Texts of keys. kind is one of the above; err never quotes a seed. */
int nkey_decode_public(const char *text, uint8_t kind, uint8_t key[32], struct wcp_err *err);
int nkey_decode_seed(const char *text, uint8_t kind, uint8_t secret[32], struct wcp_err *err);
void nkey_encode_public(uint8_t kind, const uint8_t key[32], char out[NKEY_PUBLIC_LEN + 1]);
void nkey_encode_seed(uint8_t kind, const uint8_t secret[32], char out[NKEY_SEED_LEN + 1]);

/* The public text of a seed of a kind that signs: any but NKEY_CURVE. */
int nkey_public(const char *seed, uint8_t kind, char out[NKEY_PUBLIC_LEN + 1], struct wcp_err *err);
/* The public X... text of an SX... seed. */
int xkey_public(const char *seed, char out[NKEY_PUBLIC_LEN + 1], struct wcp_err *err);

#define XKEY_NONCE_LEN 24
#define XKEY_OVERHEAD  (4 + XKEY_NONCE_LEN + 16)
/* "xkv1" | nonce | box. out gets plain.len + XKEY_OVERHEAD bytes. */
int xkey_seal(struct wcp_bytes plain, const char *recipient, const char *sender_seed,
              const uint8_t nonce[XKEY_NONCE_LEN], uint8_t *out, struct wcp_err *err);
/* out gets sealed.len - XKEY_OVERHEAD bytes (ask xkey_plain_len). */
int xkey_plain_len(struct wcp_bytes sealed, size_t *out, struct wcp_err *err);
int xkey_open(struct wcp_bytes sealed, const char *sender, const char *seed, uint8_t *out,
              struct wcp_err *err);

#endif
