/* test_xkey.c: nkeys as text and sealed boxes, against the vectors of lattice.md §2.4. */
#include "lattice/xkey.h"
#include "test.h"

#define HOST_SEED   "SXAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H74KM"
#define HOST_PUBLIC "XCHUBRNNW2HSKYSK4WZBJ2TWPJXMSTMCTU6XWXQ22G5G6PRBHAUF76G7"
#define OUR_SEED    "SXACAIJCEMSCKJRHFAUSUKZMFUXC6MBRGIZTINJWG44DSOR3HQ6T4PY4AQ"
#define OUR_PUBLIC  "XA2YA4WWGZMIBUNO5IZJVX4REE4DQUPNEGRI4O3V5FS5BUWNCZRFI2LE"
#define PLAIN       "{\"password\":{\"kind\":\"String\",\"value\":\"hunter2\"}}"
#define SEALED                                                                                     \
    "786b7631404142434445464748494a4b4c4d4e4f5051525354555657fff732f6676f90ca65cac0877707404a"     \
    "c51730efbef94abbd137b958d65a13320d4164a167ae94d048399292a67de58ab11493c3030b3a4b4fd05fa8"     \
    "9e11c98e"

static const char *seed_error(const char *text)
{
    static struct wcp_err err;
    uint8_t secret[32];
    CHECK_INT(nkey_decode_seed(text, NKEY_CURVE, secret, &err), WCP_EINVAL);
    return err.msg;
}

TEST(xkey_encodes_and_decodes_every_kind_of_key)
{
    uint8_t secret[32], key[32], back[32];
    char text[NKEY_SEED_LEN + 1];
    for (int i = 0; i < 32; i++)
        secret[i] = (uint8_t)i;
    nkey_encode_seed(NKEY_CURVE, secret, text);
    CHECK_STR(text, HOST_SEED);
    nkey_encode_seed(NKEY_SERVER, secret, text);
    CHECK_STR(text, "SNAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H2D5U");
    for (int i = 0; i < 32; i++)
        secret[i] = (uint8_t)(0x60 + i);
    nkey_encode_seed(NKEY_USER, secret, text);
    CHECK_STR(text, "SUAGAYLCMNSGKZTHNBUWU23MNVXG64DROJZXI5LWO54HS6T3PR6X4767BY");
    CHECK_INT(nkey_decode_seed(text, NKEY_USER, back, NULL), 0);
    CHECK(memcmp(back, secret, 32) == 0);
    CHECK_INT(nkey_decode_public("NAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RSWB",
                                 NKEY_SERVER, key, NULL),
              0);
    nkey_encode_public(NKEY_SERVER, key, text);
    CHECK_STR(text, "NAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RSWB");
}

TEST(xkey_derives_the_public_key)
{
    char text[NKEY_PUBLIC_LEN + 1];
    CHECK_INT(xkey_public(HOST_SEED, text, NULL), 0);
    CHECK_STR(text, HOST_PUBLIC);
    CHECK_INT(xkey_public(OUR_SEED, text, NULL), 0);
    CHECK_STR(text, OUR_PUBLIC);
}

TEST(nkey_derives_the_public_key)
{
    char out[NKEY_PUBLIC_LEN + 1] = "";
    struct wcp_err err;
    CHECK_INT(nkey_public("SNAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H2D5U", NKEY_SERVER,
                          out, NULL),
              0);
    CHECK_STR(out, "NAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RSWB");
    CHECK_INT(nkey_public("SUAGAYLCMNSGKZTHNBUWU23MNVXG64DROJZXI5LWO54HS6T3PR6X4767BY", NKEY_USER,
                          out, NULL),
              0);
    CHECK_STR(out, "UALUKU5UK3O57RUQR3FLDQIB7ZVLEHRLVIDBO6K3PVB2MNECTE75KRJ3");
    CHECK_INT(nkey_public(HOST_SEED, NKEY_SERVER, out, &err), WCP_EINVAL);
    CHECK_STR(err.msg, "a key that starts with SX found, a seed, SN, expected");
}

TEST(xkey_says_what_is_wrong_with_a_key)
{
    CHECK_STR(seed_error(""), "0 characters found, 58 expected");
    CHECK_STR(seed_error(HOST_PUBLIC), "56 characters found, 58 expected");
    CHECK_STR(seed_error("SXAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H741M"),
              "character 57 is not base32");
    CHECK_STR(seed_error("SXBAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H74KM"),
              "the checksum is wrong: a character is mistyped");
    CHECK_STR(seed_error("SUAGAYLCMNSGKZTHNBUWU23MNVXG64DROJZXI5LWO54HS6T3PR6X4767BY"),
              "a key that starts with SU found, a seed, SX, expected");
    uint8_t key[32];
    struct wcp_err err;
    CHECK_INT(nkey_decode_public(HOST_PUBLIC, NKEY_SERVER, key, &err), WCP_EINVAL);
    CHECK_STR(err.msg, "a public key that starts with X found, N expected");
}

TEST(xkey_finds_every_mistyped_character)
{
    for (size_t i = 0; i < NKEY_SEED_LEN; i++) {
        char text[] = HOST_SEED;
        uint8_t secret[32];
        text[i] = text[i] == 'B' ? 'C' : 'B';
        CHECK(nkey_decode_seed(text, NKEY_CURVE, secret, NULL) != 0);
    }
}

TEST(xkey_seals_as_the_vector_says)
{
    uint8_t out[sizeof PLAIN - 1 + XKEY_OVERHEAD];
    uint8_t nonce[XKEY_NONCE_LEN];
    for (int i = 0; i < XKEY_NONCE_LEN; i++)
        nonce[i] = (uint8_t)(0x40 + i);
    struct wcp_bytes plain = {(const uint8_t *)PLAIN, sizeof PLAIN - 1};
    CHECK_INT(xkey_seal(plain, OUR_PUBLIC, HOST_SEED, nonce, out, NULL), 0);
    CHECK_HEX(((struct wcp_bytes){out, sizeof out}), SEALED);
}

TEST(xkey_opens_the_vector)
{
    char out[sizeof PLAIN] = "";
    size_t n = 0;
    struct wcp_bytes sealed = test_unhex(SEALED);
    CHECK_INT(xkey_plain_len(sealed, &n, NULL), 0);
    CHECK_INT(n, sizeof PLAIN - 1);
    CHECK_INT(xkey_open(sealed, HOST_PUBLIC, OUR_SEED, (uint8_t *)out, NULL), 0);
    CHECK_STR(out, PLAIN);
}

TEST(xkey_refuses_boxes_that_are_cut_changed_or_for_others)
{
    uint8_t out[sizeof PLAIN];
    struct wcp_bytes sealed = test_unhex(SEALED);
    struct wcp_err err;
    uint8_t *p = (uint8_t *)(uintptr_t)sealed.ptr;
    for (size_t i = 0; i < sealed.len; i++) {
        CHECK(xkey_open((struct wcp_bytes){p, i}, HOST_PUBLIC, OUR_SEED, out, &err) != 0);
        p[i] ^= 1;
        CHECK(xkey_open(sealed, HOST_PUBLIC, OUR_SEED, out, &err) != 0);
        p[i] ^= 1;
    }
    CHECK_INT(xkey_open((struct wcp_bytes){p, 43}, HOST_PUBLIC, OUR_SEED, out, &err), WCP_EPROTO);
    CHECK_STR(err.msg, "43 sealed bytes found, at least 44 expected");
    CHECK_INT(xkey_open(sealed, HOST_PUBLIC, HOST_SEED, out, &err), WCP_EAUTH);
    CHECK_STR(err.msg, "cannot be decrypted with this provider's key");
    CHECK_INT(xkey_open(sealed, "X", OUR_SEED, out, &err), WCP_EINVAL);
    CHECK_STR(err.msg, "the sender's key: 1 characters found, 56 expected");
    p[0] = 'X';
    CHECK_INT(xkey_open(sealed, HOST_PUBLIC, OUR_SEED, out, &err), WCP_EPROTO);
    CHECK_STR(err.msg, "the sealed bytes do not start with xkv1");
}
