// The costly step of logging in with SCRAM-SHA-256, in place of libpq's (the linker's --wrap): the thousands of rounds
// that make the salted password, RFC 5802's Hi(), which is PBKDF2. libpq sets an HMAC up anew for each round, which
// takes most of its time; OpenSSL's own function does not, and takes a sixth. What is not SHA-256, and what OpenSSL
// refuses, is left to libpq. Owns nothing.
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <string.h>

// libpq's number for it (enum pg_cryptohash_type).
#define LIBPQ_SHA256 3

int __real_scram_SaltedPassword(const char *password, int hash, int key_length, const char *salt, int salt_length,
                                int iterations, uint8_t *result, const char **error);
int __wrap_scram_SaltedPassword(const char *password, int hash, int key_length, const char *salt, int salt_length,
                                int iterations, uint8_t *result, const char **error);

int __wrap_scram_SaltedPassword(const char *password, int hash, int key_length, const char *salt, int salt_length,
                                int iterations, uint8_t *result, const char **error) {
    if (hash == LIBPQ_SHA256 && key_length == SHA256_DIGEST_LENGTH &&
        PKCS5_PBKDF2_HMAC(password, (int)strlen(password), (const unsigned char *)salt, salt_length, iterations,
                          EVP_sha256(), key_length, result))
        return 0;
    return __real_scram_SaltedPassword(password, hash, key_length, salt, salt_length, iterations, result, error);
}
