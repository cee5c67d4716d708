/* Sampled bits, for runners/samples.py, which says what they are and makes the same ones in NumPy.
 *
 * Philox4x32-7 for a vector of counters: 32-bit words in lanes of 64 bits, whose upper halves hold no part of the
 * state; a product of two lower halves is what a round needs of them.
 */
#include "vectors.h"

#define ROUNDS 7
#define LOWER 0xffffffffu
enum { WORDS = 4, COUNTERS = 16, GROUP = WORDS * COUNTERS };

/* Words of a state, a counter a lane; `key`: two words a round. */
typedef struct {
    words word[WORDS];
} state;

inline_always state philox(words counter, const uint32_t rest[WORDS - 1], const uint32_t key[2 * ROUNDS])
{
    const words none = {};
    state s = {{counter, none + rest[0], none + rest[1], none + rest[2]}};
    for (int round = 0; round < ROUNDS; round++) {
        const words first = low_product(s.word[0], none + 0xD2511F53u);
        const words second = low_product(s.word[2], none + 0xCD9E8D57u);
        s = (state){{second >> 32 ^ s.word[1] ^ key[2 * round], second, first >> 32 ^ s.word[3] ^ key[2 * round + 1],
                     first}};
    }
    return s;
}

/* Write `groups` groups of 64 words, from group number `first` on, at any address. `exponents`: how many there are to
 * choose from, the lowest being `low`; 0 leaves the words as they are. */
void golden_sample(unsigned char *to, int64_t first, int64_t groups, uint64_t seed, uint64_t block, uint32_t operand,
                   uint32_t low, uint32_t exponents)
{
    const uint32_t rest[WORDS - 1] = {(uint32_t)block, (uint32_t)(block >> 32), operand};
    uint32_t key[2 * ROUNDS];
    for (uint32_t round = 0; round < ROUNDS; round++) {
        key[2 * round] = (uint32_t)seed + round * 0x9E3779B9u;
        key[2 * round + 1] = (uint32_t)(seed >> 32) + round * 0xBB67AE85u;
    }
    const wide_words most = (wide_words){} + (exponents << 24);
    words even;
    for (int j = 0; j < LANES; j++)
        even[j] = 2 * (uint64_t)j;
    for (int64_t group = 0; group < groups; group++)
        for (int i = 0; i < COUNTERS; i += 2 * LANES) {
            const words counter = even + (uint64_t)((first + group) * COUNTERS + i);
            const state evens = philox(counter, rest, key), odds = philox(counter + 1, rest, key);
            for (int k = 0; k < WORDS; k++) {
                wide_words word = (wide_words)((evens.word[k] & LOWER) | odds.word[k] << 32);
                if (exponents) { /* (2^7 e) (2^8 exponents) / 2^16: bit 8 of e * exponents is bit 7 of the upper half */
                    const wide_words scaled = high_products(word & 0x7f800000, most) + (low << 23);
                    word = (word & 0x807fffff) | (scaled & 0x7f800000);
                }
                memcpy(to + 4 * (group * GROUP + k * COUNTERS + i), &word, sizeof word);
            }
        }
}
