/* xkey.c: nkeys as text (lattice.md §2.1) and xkey boxes (§2.2). */
#include "lattice/xkey.h"
#include <sodium.h>
#include <string.h>

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
#define RAW_MAX 36 /* two bytes of prefix, the key, the checksum */

/* CRC-16/XMODEM. */
static uint16_t crc16(const uint8_t *p, size_t n)
{
    uint32_t crc = 0;
    for (size_t i = 0; i < n; i++) {
        crc ^= (uint32_t)p[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1;
    }
    return (uint16_t)crc;
}

/* raw has room for its checksum, which is added. */
static void encode(uint8_t *raw, size_t n, char *out)
{
    uint16_t crc = crc16(raw, n);
    raw[n++] = (uint8_t)(crc & 0xff);
    raw[n++] = (uint8_t)(crc >> 8);
    uint32_t bits = 0;
    unsigned have = 0;
    for (size_t i = 0; i < n; i++) {
        bits = (bits << 8 | raw[i]) & 0xffff;
        for (have += 8; have >= 5; have -= 5)
            *out++ = ALPHABET[bits >> (have - 5) & 31];
    }
    if (have)
        *out++ = ALPHABET[bits << (5 - have) & 31];
    *out = '\0';
}

/* Checks alphabet, length and checksum. raw gets n bytes with the checksum. */
static int decode(const char *text, size_t n, uint8_t raw[RAW_MAX], struct wcp_err *err)
{
    size_t len = strlen(text), want = (n * 8 + 4) / 5, at = 0;
    uint32_t bits = 0;
    unsigned have = 0;
    if (len != want)
        return wcp_fail(err, WCP_EINVAL, "%zu characters found, %zu expected", len, want);
    for (size_t i = 0; i < len; i++) {
        const char *digit = strchr(ALPHABET, text[i]);
        if (!digit)
            return wcp_fail(err, WCP_EINVAL, "character %zu is not base32", i + 1);
        bits = (bits << 5 | (uint32_t)(digit - ALPHABET)) & 0xffff;
        have += 5;
        if (have >= 8) {
            have -= 8;
            raw[at++] = (uint8_t)(bits >> have);
        }
    }
    uint16_t crc = crc16(raw, n - 2);
    if (raw[n - 2] != (crc & 0xff) || raw[n - 1] != crc >> 8 || bits & ((1u << have) - 1))
        return wcp_fail(err, WCP_EINVAL, "the checksum is wrong: a character is mistyped");
    return 0;
}

static char letter(uint8_t kind)
{
    return ALPHABET[kind >> 3];
}

int nkey_decode_public(const char *text, uint8_t kind, uint8_t key[32], struct wcp_err *err)
{
    uint8_t raw[RAW_MAX] = {0};
    int rc = decode(text, 35, raw, err);
    if (rc)
        return rc;
    if (raw[0] != kind)
        return wcp_fail(err, WCP_EINVAL, "a public key that starts with %c found, %c expected",
                        text[0], letter(kind));
    memcpy(key, raw + 1, 32);
    return 0;
}

int nkey_decode_seed(const char *text, uint8_t kind, uint8_t secret[32], struct wcp_err *err)
{
    uint8_t raw[RAW_MAX] = {0};
    int rc = decode(text, 36, raw, err);
    if (!rc && (raw[0] != (0x90 | kind >> 5) || raw[1] != (uint8_t)((kind & 31) << 3)))
        rc = wcp_fail(err, WCP_EINVAL, "a key that starts with %.2s found, a seed, S%c, expected",
                      text, letter(kind));
    if (!rc)
        memcpy(secret, raw + 2, 32);
    sodium_memzero(raw, sizeof raw);
    return rc;
}

void nkey_encode_public(uint8_t kind, const uint8_t key[32], char out[NKEY_PUBLIC_LEN + 1])
{
    uint8_t raw[RAW_MAX] = {kind};
    memcpy(raw + 1, key, 32);
    encode(raw, 33, out);
}

void nkey_encode_seed(uint8_t kind, const uint8_t secret[32], char out[NKEY_SEED_LEN + 1])
{
    uint8_t raw[RAW_MAX] = {(uint8_t)(0x90 | kind >> 5), (uint8_t)((kind & 31) << 3)};
    memcpy(raw + 2, secret, 32);
    encode(raw, 34, out);
    sodium_memzero(raw, sizeof raw);
}

int nkey_public(const char *seed, uint8_t kind, char out[NKEY_PUBLIC_LEN + 1], struct wcp_err *err)
{
    uint8_t secret[32], key[32], both[64];
    int rc = nkey_decode_seed(seed, kind, secret, err);
    if (rc)
        return rc;
    (void)crypto_sign_seed_keypair(key, both, secret); /* always 0 */
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(both, sizeof both);
    nkey_encode_public(kind, key, out);
    return 0;
}

int xkey_public(const char *seed, char out[NKEY_PUBLIC_LEN + 1], struct wcp_err *err)
{
    uint8_t secret[32], key[32];
    int rc = nkey_decode_seed(seed, NKEY_CURVE, secret, err);
    if (rc)
        return rc;
    crypto_scalarmult_base(key, secret);
    sodium_memzero(secret, sizeof secret);
    nkey_encode_public(NKEY_CURVE, key, out);
    return 0;
}

int xkey_seal(struct wcp_bytes plain, const char *recipient, const char *sender_seed,
              const uint8_t nonce[XKEY_NONCE_LEN], uint8_t *out, struct wcp_err *err)
{
    struct wcp_err local = {0};
    uint8_t key[32], secret[32];
    err = err ? err : &local;
    int rc = nkey_decode_public(recipient, NKEY_CURVE, key, err);
    if (rc)
        return wcp_wrap(err, "recipient");
    if ((rc = nkey_decode_seed(sender_seed, NKEY_CURVE, secret, err)))
        return wcp_wrap(err, "sender");
    memcpy(out, "xkv1", 4);
    memcpy(out + 4, nonce, XKEY_NONCE_LEN);
    if (crypto_box_easy(out + 4 + XKEY_NONCE_LEN, plain.ptr, plain.len, nonce, key, secret) != 0)
        rc = wcp_fail(err, WCP_EAUTH, "the recipient's key is not usable");
    sodium_memzero(secret, sizeof secret);
    return rc;
}

int xkey_plain_len(struct wcp_bytes sealed, size_t *out, struct wcp_err *err)
{
    if (sealed.len < XKEY_OVERHEAD)
        return wcp_fail(err, WCP_EPROTO, "%zu sealed bytes found, at least %d expected", sealed.len,
                        XKEY_OVERHEAD);
    if (memcmp(sealed.ptr, "xkv1", 4) != 0)
        return wcp_fail(err, WCP_EPROTO, "the sealed bytes do not start with xkv1");
    *out = sealed.len - XKEY_OVERHEAD;
    return 0;
}

int xkey_open(struct wcp_bytes sealed, const char *sender, const char *seed, uint8_t *out,
              struct wcp_err *err)
{
    struct wcp_err local = {0};
    uint8_t key[32], secret[32];
    size_t n = 0;
    err = err ? err : &local;
    int rc = xkey_plain_len(sealed, &n, err);
    if (rc)
        return rc;
    if (nkey_decode_public(sender, NKEY_CURVE, key, err))
        return wcp_wrap(err, "the sender's key");
    if (nkey_decode_seed(seed, NKEY_CURVE, secret, err))
        return wcp_wrap(err, "this provider's key");
    if (crypto_box_open_easy(out, sealed.ptr + 4 + XKEY_NONCE_LEN, n + 16, sealed.ptr + 4, key,
                             secret) != 0)
        rc = wcp_fail(err, WCP_EAUTH, "cannot be decrypted with this provider's key");
    sodium_memzero(secret, sizeof secret);
    return rc;
}
