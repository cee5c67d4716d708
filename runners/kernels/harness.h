/* The harness: calls kernels on a target that golden cannot load itself, and says what they did.
 *
 * harness_core.c is the part that knows kernels, operands and messages. It is freestanding: no input or output, no
 * allocation, nothing of the C library but memcpy, memset and memcmp (which a freestanding compiler needs as well).
 * What it runs on is described by a struct harness. harness.c makes a program of it that talks on standard input
 * and output. harness_table.c, the list of entry points, is generated from the operators' descriptions.
 *
 * Messages, frames and their byte order: docs/running-on-a-board.md.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <stddef.h>
#include <stdint.h>

#include "golden_half.h"

#define HARNESS_VERSION 1u

/* Canary bytes on either side of each operand. A write further away than this is not seen. */
#ifndef HARNESS_GUARD
#define HARNESS_GUARD 1024u
#endif

enum harness_message { HARNESS_CALL = 1, HARNESS_BYE = 2, HARNESS_HELLO = 16, HARNESS_RESULT = 17,
                       HARNESS_FAULT = 18, HARNESS_TROUBLE = 19, HARNESS_GOODBYE = 20 };
#define HARNESS_HEADER 16u

#define HARNESS_ARGUMENTS 16u
struct harness_argument {
    void *pointer;
    uint32_t bits;
};

/* kinds: one letter an argument, in C order: p pointer, i int, h half, f float, m core mask. */
struct harness_entry {
    const char *symbol, *kinds;
    void (*address)(void); /* NULL where the library lacks it */
    void (*call)(const struct harness_argument *);
};
/* The last one has no symbol. */
extern const struct harness_entry harness_entries[];

/* What the core runs on. Pointers to functions may be NULL, except write. */
struct harness {
    /* Where operands go, except those with an address of their own. */
    unsigned char *arena;
    size_t arena_size;
    /* Send bytes; not 0 if that is impossible. */
    int (*write)(struct harness *, const void *bytes, size_t size);
    /* Make memory at a documented address usable; not 0 if that is impossible. NULL: it always is. */
    int (*claim)(struct harness *, uintptr_t address, size_t size);
    /* About to call a kernel, which may take so many seconds. */
    void (*before)(struct harness *, unsigned seconds);
    /* A kernel has returned; answers with HARNESS_CHILDREN or 0. */
    unsigned (*after)(struct harness *);
    /* Set the floating-point environment back to what it was at the start. */
    void (*restore)(struct harness *);
    int claims; /* operands may be placed at addresses that the judge names */
    uint32_t environment; /* at the start; set by harness_hello */
};
#define HARNESS_CHILDREN 2u

/* CRC-32 as in zlib and Ethernet; start with 0. */
uint32_t harness_crc(uint32_t crc, const void *bytes, size_t size);
uint32_t harness_get(const unsigned char *bytes, unsigned size);
/* Check a frame's header. Returns 0, or what is wrong with it. */
const char *harness_header(const unsigned char *header, uint32_t *type, uint32_t *length);
/* Send a message whose payload is a text. */
int harness_say(struct harness *, enum harness_message, const char *text);
/* Send the greeting; `capacity` is the memory for a call with its operands, in bytes. */
int harness_hello(struct harness *, uint64_t capacity);
/* Do a call, and send one result an invocation. Not 0 if the harness cannot go on. */
int harness_call(struct harness *, const unsigned char *payload, size_t length);

#endif
