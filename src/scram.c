// The costly step of logging in with SCRAM-SHA-256, in place of libpq's (the linker's --wrap): the thousands of rounds
// that make the salted password, RFC 5802's Hi(). libpq sets an HMAC up anew for each round, which takes most of its
// time; here a round is two calls of the hash's block function, from states that were prepared once. What is not
// SHA-256 is left to libpq. Owns nothing; cannot fail.
#define OPENSSL_SUPPRESS_DEPRECATED  // the block function is not to be had in another way

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <string.h>

#define HASH_SIZE SHA256_DIGEST_LENGTH
#define BLOCK_SIZE SHA256_CBLOCK
// libpq's number for it (enum pg_cryptohash_type).
#define LIBPQ_SHA256 3

int __real_scram_SaltedPassword(const char *password, int hash, int key_length, const char *salt, int salt_length,
                                int iterations, uint8_t *result, const char **error);
int __wrap_scram_SaltedPassword(const char *password, int hash, int key_length, const char *salt, int salt_length,
                                int iterations, uint8_t *result, const char **error);

struct hmac {
    SHA256_CTX inner, outer;  // when the key has gone in
};

static void prepare(struct hmac *hmac, const char *password) {
    unsigned char key[BLOCK_SIZE] = {0}, pad[BLOCK_SIZE];
    size_t length = strlen(password);
    if (length > BLOCK_SIZE) SHA256((const unsigned char *)password, length, key);
    else memcpy(key, password, length);
    for (int i = 0; i < BLOCK_SIZE; i++) pad[i] = key[i] ^ 0x36;
    SHA256_Init(&hmac->inner);
    SHA256_Update(&hmac->inner, pad, sizeof pad);
    for (int i = 0; i < BLOCK_SIZE; i++) pad[i] = key[i] ^ 0x5c;
    SHA256_Init(&hmac->outer);
    SHA256_Update(&hmac->outer, pad, sizeof pad);
    OPENSSL_cleanse(key, sizeof key);
    OPENSSL_cleanse(pad, sizeof pad);
}

// Puts the state where the next block has its 32 bytes.
static void put_state(unsigned char *block, const SHA256_CTX *state) {
    for (int i = 0; i < 8; i++) {
        uint32_t word = state->h[i];
        for (int byte = 0; byte < 4; byte++) block[4 * i + byte] = (unsigned char)(word >> (24 - 8 * byte));
    }
}

// The HMAC of the block's first 32 bytes takes their place. What follows them is how such a message ends.
static void next_round(const struct hmac *hmac, unsigned char *block) {
    SHA256_CTX state = hmac->inner;
    SHA256_Transform(&state, block);
    put_state(block, &state);
    state = hmac->outer;
    SHA256_Transform(&state, block);
    put_state(block, &state);
}

static void first_round(const struct hmac *hmac, const char *salt, int salt_length, unsigned char *block) {
    static const unsigned char one[4] = {0, 0, 0, 1};
    SHA256_CTX state = hmac->inner;
    SHA256_Update(&state, salt, (size_t)salt_length);
    SHA256_Update(&state, one, sizeof one);
    SHA256_Final(block, &state);
    state = hmac->outer;
    SHA256_Update(&state, block, HASH_SIZE);
    SHA256_Final(block, &state);
}

int __wrap_scram_SaltedPassword(const char *password, int hash, int key_length, const char *salt, int salt_length,
                                int iterations, uint8_t *result, const char **error) {
    if (hash != LIBPQ_SHA256 || key_length != HASH_SIZE)
        return __real_scram_SaltedPassword(password, hash, key_length, salt, salt_length, iterations, result, error);
    struct hmac hmac;
    // 32 bytes after a block of key: the end mark, and the length of both in bits.
    unsigned char block[BLOCK_SIZE] = {[HASH_SIZE] = 0x80, [BLOCK_SIZE - 2] = (BLOCK_SIZE + HASH_SIZE) * 8 / 256};
    prepare(&hmac, password);
    first_round(&hmac, salt, salt_length, block);
    memcpy(result, block, HASH_SIZE);
    for (int i = 1; i < iterations; i++) {
        next_round(&hmac, block);
        for (int j = 0; j < HASH_SIZE; j++) result[j] ^= block[j];
    }
    OPENSSL_cleanse(&hmac, sizeof hmac);
    OPENSSL_cleanse(block, sizeof block);
    return 0;
}
