/* Sampled bits, for runners/sweeping/samples.py, which says what they are and makes the same ones in NumPy.
 *
 * Streams of xoshiro128++ side by side, each begun by Philox4x32-7. Philox takes 32-bit words in lanes of 64 bits, whose
 * upper halves hold no part of the state; a product of two lower halves is what a round needs of them.
 */
#include "vectors.h"

#define ROUNDS 7
#define LOWER 0xffffffffu
#define ROTATED(word, by) ((word) << (by) | (word) >> (32 - (by)))
/* STEPS: how many words a stream makes before the next one's turn, few enough for the first-level cache. */
enum { WORDS = 4, STREAMS = 256, VECTORS = STREAMS / WIDE, STEPS = 16 };

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

/* States of all streams, word by word. */
static void begin(wide_words streams[WORDS][VECTORS], uint64_t seed, uint64_t block, uint32_t operand)
{
    const uint32_t rest[WORDS - 1] = {(uint32_t)block, (uint32_t)(block >> 32), operand};
    uint32_t key[2 * ROUNDS];
    for (uint32_t round = 0; round < ROUNDS; round++) {
        key[2 * round] = (uint32_t)seed + round * 0x9E3779B9u;
        key[2 * round + 1] = (uint32_t)(seed >> 32) + round * 0xBB67AE85u;
    }
    words even;
    for (int j = 0; j < LANES; j++)
        even[j] = 2 * (uint64_t)j;
    for (int v = 0; v < VECTORS; v++) {
        const words counter = even + (uint64_t)(v * WIDE);
        const state evens = philox(counter, rest, key), odds = philox(counter + 1, rest, key);
        for (int k = 0; k < WORDS; k++)
            streams[k][v] = (wide_words)((evens.word[k] & LOWER) | odds.word[k] << 32);
    }
}

/* Write `groups` words of each stream, a group of the same number of each after the other, at any address. `exponents`:
 * how many there are to choose from, the lowest being `low`; 0 leaves the words as they are. */
void golden_sample(unsigned char *to, int64_t groups, uint64_t seed, uint64_t block, uint32_t operand, uint32_t low,
                   uint32_t exponents)
{
    const wide_words most = (wide_words){} + (exponents << 24);
    wide_words streams[WORDS][VECTORS];
    begin(streams, seed, block, operand);
    for (int64_t group = 0; group < groups; group += STEPS)
        for (int v = 0; v < VECTORS; v++) {
            wide_words a = streams[0][v], b = streams[1][v], c = streams[2][v], d = streams[3][v];
            for (int64_t step = group; step < groups && step < group + STEPS; step++) {
                wide_words word = ROTATED(a + d, 7) + a;
                const wide_words shifted = b << 9;
                c ^= a;
                d ^= b;
                b ^= c;
                a ^= d;
                c ^= shifted;
                d = ROTATED(d, 11);
                if (exponents) { /* (2^7 e) (2^8 exponents) / 2^16: bit 8 of e * exponents is bit 7 of the upper half */
                    const wide_words scaled = high_products(word & 0x7f800000, most) + (low << 23);
                    word = (word & 0x807fffff) | (scaled & 0x7f800000);
                }
                memcpy(to + 4 * (step * STREAMS + v * WIDE), &word, sizeof word);
            }
            streams[0][v] = a, streams[1][v] = b, streams[2][v] = c, streams[3][v] = d;
        }
}
