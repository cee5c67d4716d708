/* The freestanding part of the harness; see harness.h. */
#include "harness.h"

#include <limits.h>
#include <string.h>

#ifndef HARNESS_ARCHITECTURE
#if defined(__x86_64__)
#define HARNESS_ARCHITECTURE "x86_64"
#elif defined(__i386__)
#define HARNESS_ARCHITECTURE "i386"
#elif defined(__aarch64__)
#define HARNESS_ARCHITECTURE "aarch64"
#elif defined(__arm__)
#define HARNESS_ARCHITECTURE "arm"
#elif defined(__riscv) && __riscv_xlen == 64
#define HARNESS_ARCHITECTURE "riscv64"
#elif defined(__riscv)
#define HARNESS_ARCHITECTURE "riscv32"
#elif defined(__s390x__)
#define HARNESS_ARCHITECTURE "s390x"
#elif defined(_TMS320C6X)
#define HARNESS_ARCHITECTURE "c6000"
#else
#define HARNESS_ARCHITECTURE "unknown"
#endif
#endif
#ifdef __VERSION__
#define HARNESS_COMPILER __VERSION__
#else
#define HARNESS_COMPILER "unknown"
#endif
#if defined(__clang__)
#define HARNESS_VENDOR ""
#elif defined(__GNUC__)
#define HARNESS_VENDOR "gcc "
#else
#define HARNESS_VENDOR ""
#endif

#if !defined(GOLDEN_HAS_HALF)
#define HARNESS_HALF 0u
#elif defined(GOLDEN_HALF_UINT16)
#define HARNESS_HALF 2u
#else
#define HARNESS_HALF 1u
#endif

/* Bytes */

uint32_t harness_crc(uint32_t crc, const void *bytes, size_t size)
{
    static uint32_t table[256];
    const unsigned char *next = bytes;
    if (table[1] == 0)
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t value = i;
            for (int bit = 0; bit < 8; bit++)
                value = value >> 1 ^ (value & 1 ? 0xEDB88320u : 0);
            table[i] = value;
        }
    crc = ~crc;
    for (size_t i = 0; i < size; i++)
        crc = crc >> 8 ^ table[(crc ^ next[i]) & 0xFF];
    return ~crc;
}

/* Numbers of messages are little-endian on every target. */
uint32_t harness_get(const unsigned char *bytes, unsigned size)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint32_t)bytes[i] << 8 * i;
    return value;
}

static void put(unsigned char *bytes, unsigned size, uint64_t value)
{
    for (unsigned i = 0; i < size; i++)
        bytes[i] = (unsigned char)(value >> 8 * i & 0xFF);
}

/* Frames: magic, type, length, CRC of these; payload; CRC of the payload. */

static const unsigned char magic[4] = {'G', 'L', 'D', 'H'};

const char *harness_header(const unsigned char *header, uint32_t *type, uint32_t *length)
{
    if (memcmp(header, magic, sizeof magic) != 0)
        return "what came is no frame";
    if (harness_crc(0, header, 12) != harness_get(header + 12, 4))
        return "the CRC of a frame's header is wrong";
    *type = harness_get(header + 4, 4);
    *length = harness_get(header + 8, 4);
    return NULL;
}

static int send_header(struct harness *h, enum harness_message type, uint32_t length)
{
    unsigned char header[HARNESS_HEADER];
    memcpy(header, magic, sizeof magic);
    put(header + 4, 4, type);
    put(header + 8, 4, length);
    put(header + 12, 4, harness_crc(0, header, 12));
    return h->write(h, header, sizeof header);
}

static int send_part(struct harness *h, uint32_t *crc, const void *bytes, size_t size)
{
    *crc = harness_crc(*crc, bytes, size);
    return h->write(h, bytes, size);
}

static int send_crc(struct harness *h, uint32_t crc)
{
    unsigned char bytes[4];
    put(bytes, 4, crc);
    return h->write(h, bytes, sizeof bytes);
}

int harness_say(struct harness *h, enum harness_message type, const char *text)
{
    uint32_t crc = 0;
    const size_t size = strlen(text);
    return send_header(h, type, (uint32_t)size) || send_part(h, &crc, text, size) || send_crc(h, crc);
}

/* Floating-point environment, by what it does: every processor has one, each keeps it elsewhere. */

static uint32_t environment(void)
{
    const volatile float one = 1.0f, quarter = 0x1p-25f, most = 0x1.8p-24f, half_ = 0.5f;
    const volatile float smallest_normal = 0x1p-126f, subnormal = 0x1p-127f, large = 0x1p64f;
    volatile float result;
    uint32_t found = 0;
    result = one + most; /* 3/4 ulp: not downward, not toward zero */
    found |= result > one ? 1u : 0;
    result = one + quarter;
    found |= result > one ? 2u : 0; /* upward */
    result = -one - quarter;
    found |= result < -one ? 4u : 0; /* downward */
    /* Integers tell a flushed result: comparing it would flush it once more where operands are. */
    uint32_t bits;
    result = smallest_normal * half_;
    memcpy(&bits, (const void *)&result, sizeof bits);
    found |= bits == 0 ? 8u : 0; /* results flushed */
    result = subnormal * large;
    memcpy(&bits, (const void *)&result, sizeof bits);
    found |= bits == 0 ? 16u : 0; /* operands flushed */
    return found;
}

/* Greeting */

struct text {
    unsigned char *bytes;
    size_t size, limit;
};

static void add(struct text *to, uint64_t value, unsigned size)
{
    if (to->limit - to->size >= size) {
        put(to->bytes + to->size, size, value);
        to->size += size;
    }
}

static void add_string(struct text *to, const char *string)
{
    const size_t size = strlen(string);
    if (to->limit - to->size >= size + 2) {
        add(to, size, 2);
        memcpy(to->bytes + to->size, string, size);
        to->size += size;
    }
}

int harness_hello(struct harness *h, uint64_t capacity)
{
    unsigned char bytes[4096];
    struct text hello = {bytes, 0, sizeof bytes};
    const uint32_t order = 0x01020304u;
    uint32_t crc = 0, symbols = 0;
    h->environment = environment();
    add(&hello, HARNESS_VERSION, 4);
    memcpy(bytes + hello.size, &order, sizeof order); /* as the target stores it */
    hello.size += sizeof order;
    add(&hello, sizeof(void *), 1);
    add(&hello, sizeof(int), 1);
    add(&hello, HARNESS_HALF, 1);
    add(&hello, HARNESS_HALF ? 3 : 2, 1); /* dtypes: 1 fp16, 2 fp32 */
    add(&hello, h->environment, 4);
    add(&hello, HARNESS_GUARD, 4);
    add(&hello, h->claims != 0, 4);
    add(&hello, capacity, 8);
    add_string(&hello, HARNESS_ARCHITECTURE);
    add_string(&hello, HARNESS_VENDOR HARNESS_COMPILER);
    for (const struct harness_entry *entry = harness_entries; entry->symbol; entry++)
        symbols += entry->address != NULL;
    add(&hello, symbols, 2);
    for (const struct harness_entry *entry = harness_entries; entry->symbol; entry++)
        if (entry->address != NULL)
            add_string(&hello, entry->symbol);
    return send_header(h, HARNESS_HELLO, (uint32_t)hello.size) || send_part(h, &crc, bytes, hello.size) ||
           send_crc(h, crc);
}

/* Calls */

enum role { INPUT, OUTPUT, UNREAD };

struct operand {
    unsigned char *start;
    const unsigned char *data; /* of an input */
    size_t size;
    unsigned role, itemsize;
};

struct call {
    const struct harness_entry *entry;
    struct harness_argument arguments[HARNESS_ARGUMENTS];
    struct operand operands[HARNESS_ARGUMENTS]; /* of pointers; others have no size */
    size_t count, pointers;
    const unsigned char *invocations;
    uint32_t serial, invocation_count, seconds;
    uint32_t unit; /* 0: operands have addresses; else they have remainders of their addresses by it */
    unsigned char *previous; /* output of the invocation before */
    unsigned char *arena, *arena_end;
};

/* Reads a payload; `bad` once more is asked for than there is. */
struct reader {
    const unsigned char *next;
    size_t left;
    int bad;
};

static const unsigned char *take(struct reader *from, size_t size)
{
    const unsigned char *taken = from->next;
    if (from->left < size) {
        from->bad = 1;
        return NULL;
    }
    from->next += size;
    from->left -= size;
    return taken;
}

static uint32_t number(struct reader *from, unsigned size)
{
    const unsigned char *bytes = take(from, size);
    return bytes ? harness_get(bytes, size) : 0;
}

static const struct harness_entry *find(const unsigned char *name, size_t size)
{
    for (const struct harness_entry *entry = harness_entries; name && entry->symbol; entry++)
        if (entry->address && strlen(entry->symbol) == size && memcmp(entry->symbol, name, size) == 0)
            return entry;
    return NULL;
}

/* Read a call; returns 0, or what is wrong with it. */
static const char *read_call(struct call *call, const unsigned char *payload, size_t length)
{
    struct reader from = {payload, length, 0};
    memset(call, 0, sizeof *call);
    call->serial = number(&from, 4);
    const size_t name_size = number(&from, 2);
    call->entry = find(take(&from, name_size), name_size);
    if (call->entry == NULL)
        return "a call names an entry point that is not there";
    call->count = number(&from, 2);
    if (call->count != strlen(call->entry->kinds) || call->count > HARNESS_ARGUMENTS)
        return "a call has another number of arguments than its entry point";
    for (size_t i = 0; i < call->count; i++) {
        const uint32_t kind = number(&from, 1), role = number(&from, 1), itemsize = number(&from, 2);
        const uint32_t value = number(&from, 4);
        if (kind != (unsigned char)call->entry->kinds[i])
            return "a call has an argument of another kind than its entry point";
        call->arguments[i].bits = value;
        if (kind != 'p')
            continue;
        if (role > UNREAD || (itemsize != 2 && itemsize != 4) || value > (SIZE_MAX >> 1) / itemsize)
            return "a call has an operand that cannot be";
        call->operands[i].role = role;
        call->operands[i].itemsize = itemsize;
        call->operands[i].size = (size_t)value * itemsize;
        call->pointers++;
    }
    call->unit = number(&from, 2);
    call->seconds = number(&from, 2);
    call->invocation_count = number(&from, 4);
    if (call->unit & (call->unit - 1))
        return "a call places operands modulo a number that is no power of two";
    const size_t invocation_size = 8 + 8 * call->pointers;
    if (from.bad || call->invocation_count > from.left / invocation_size)
        return "a call is shorter than it says";
    call->invocations = take(&from, call->invocation_count * invocation_size);
    for (size_t i = 0; i < call->count; i++)
        if (call->entry->kinds[i] == 'p' && call->operands[i].role == INPUT)
            call->operands[i].data = take(&from, call->operands[i].size);
    if (from.bad || from.left != 0)
        return "a call is not as long as it says";
    return NULL;
}

/* Guards: irregular, so that a shifted copy shows; without zeros, because zero is what most overruns write. */
static const unsigned char *canary(void)
{
    static unsigned char bytes[HARNESS_GUARD];
    uint32_t state = 1;
    for (size_t i = 0; bytes[HARNESS_GUARD - 1] == 0 && i < HARNESS_GUARD; i++) {
        state = state * 1664525u + 1013904223u;
        bytes[i] = (unsigned char)(1 + (state >> 16) % 255);
    }
    return bytes;
}

/* Lay the operands of an invocation out. Returns 0, or what stops it. */
static const char *place(struct harness *h, struct call *call, const unsigned char *places)
{
    unsigned char *next = call->arena;
    for (size_t i = 0; i < call->count; i++) {
        struct operand *operand = &call->operands[i];
        if (call->entry->kinds[i] != 'p')
            continue;
        const uint64_t wanted = harness_get(places, 4) | (uint64_t)harness_get(places + 4, 4) << 32;
        places += 8;
        if (call->unit == 0) {
            if (wanted > UINTPTR_MAX || wanted < HARNESS_GUARD || !h->claims)
                return "this target has no memory at the address that a call names";
            if (h->claim && h->claim(h, (uintptr_t)wanted - HARNESS_GUARD, operand->size + 2 * HARNESS_GUARD))
                return "memory at a documented address cannot be had";
            operand->start = (unsigned char *)(uintptr_t)wanted;
        } else {
            const size_t left = (size_t)(call->arena_end - next);
            const size_t around = HARNESS_GUARD * 2 + call->unit;
            if (left < around || left - around < operand->size)
                return "a call needs more memory than the harness has";
            next += HARNESS_GUARD;
            next += ((uintptr_t)wanted - (uintptr_t)next) & (call->unit - 1);
            operand->start = next;
            next += operand->size + HARNESS_GUARD;
        }
        call->arguments[i].pointer = operand->start;
    }
    return NULL;
}

/* An element of an operand that must not matter: a NaN, one, zero, a large or negative number, or several in turn.
 * Both halves of a pair of fp16 are alike: any byte order gives the same. */
static uint32_t unread_bits(const struct operand *operand, unsigned kind, size_t element)
{
    static const uint16_t half[] = {0xFFFF, 0x3C00, 0x0000, 0x7753, 0xBE00,
                                    0x3800, 0xC200, 0x5380, 0x0000, 0x63D0, 0x9800, 0x4700, 0xDA40};
    static const uint32_t single[] = {0xFFFFFFFF, 0x3F800000, 0x00000000, 0x46EA6000, 0xBFC00000,
                                      0x3F000000, 0xC0400000, 0x42700000, 0x00000000, 0x447A0000,
                                      0xBB000000, 0x40E00000, 0xC3480000};
    const size_t at = kind < 5 ? kind : 5 + element % 8;
    return operand->itemsize == 2 ? half[at] * 0x10001u : single[at];
}

static void fill(const struct operand *operand, unsigned filling, unsigned kind)
{
    memcpy(operand->start - HARNESS_GUARD, canary(), HARNESS_GUARD);
    memcpy(operand->start + operand->size, canary(), HARNESS_GUARD);
    if (operand->role == INPUT)
        memcpy(operand->start, operand->data, operand->size);
    else if (operand->role == OUTPUT)
        memset(operand->start, (int)filling, operand->size);
    else {
        for (size_t at = 0; at < operand->size; at += operand->itemsize) { /* which is 2 or 4 */
            const uint32_t bits = unread_bits(operand, kind, at / operand->itemsize);
            memcpy(operand->start + at, &bits, operand->itemsize);
        }
    }
}

/* A result in the making: up to three disturbances an operand, 12 bytes each. */
struct disturbances {
    unsigned char bytes[HARNESS_ARGUMENTS * 3 * 12];
    size_t count;
};

static void disturb(struct disturbances *to, size_t argument, unsigned where, int64_t offset)
{
    unsigned char *next = to->bytes + 12 * to->count++;
    put(next, 2, argument);
    put(next + 2, 2, where);
    put(next + 4, 8, (uint64_t)offset);
}

/* Find what a call has changed in and around an operand: the byte nearest to it, or the first within. */
static void check(const struct operand *operand, size_t argument, unsigned kind, struct disturbances *to)
{
    const unsigned char *guard = canary(), *start = operand->start, *stop = start + operand->size;
    if (memcmp(start - HARNESS_GUARD, guard, HARNESS_GUARD) != 0) {
        size_t at = HARNESS_GUARD;
        while (start[(ptrdiff_t)at - (ptrdiff_t)HARNESS_GUARD - 1] == guard[at - 1])
            at--;
        disturb(to, argument, 0, (int64_t)at - (int64_t)HARNESS_GUARD - 1);
    }
    size_t at = 0;
    if (operand->role == INPUT && memcmp(start, operand->data, operand->size) != 0) {
        while (start[at] == operand->data[at])
            at++;
        disturb(to, argument, 1, (int64_t)at);
    } else if (operand->role == UNREAD) {
        for (; at < operand->size; at += operand->itemsize) {
            const uint32_t bits = unread_bits(operand, kind, at / operand->itemsize);
            if (memcmp(start + at, &bits, operand->itemsize) != 0)
                break;
        }
        if (at < operand->size)
            disturb(to, argument, 1, (int64_t)at);
    }
    if (memcmp(stop, guard, HARNESS_GUARD) != 0) {
        at = 0;
        while (stop[at] == guard[at])
            at++;
        disturb(to, argument, 2, (int64_t)(operand->size + at));
    }
}

static int send_result(struct harness *h, struct call *call, uint32_t index, uint32_t now, unsigned flags,
                       const struct disturbances *found)
{
    const struct operand *output = NULL;
    for (size_t i = 0; i < call->count; i++)
        if (call->entry->kinds[i] == 'p' && call->operands[i].role == OUTPUT)
            output = &call->operands[i];
    const size_t size = output ? output->size : 0;
    const int repeated = index != 0 && (size == 0 || memcmp(call->previous, output->start, size) == 0);
    const size_t sent = repeated ? 0 : size;
    unsigned char head[16];
    uint32_t crc = 0;
    put(head, 4, call->serial);
    put(head + 4, 4, index);
    put(head + 8, 4, now);
    put(head + 12, 2, flags | (repeated ? 0 : 1));
    put(head + 14, 2, found->count);
    if (!repeated && size != 0)
        memcpy(call->previous, output->start, size);
    return send_header(h, HARNESS_RESULT, (uint32_t)(sizeof head + 12 * found->count + sent)) ||
           send_part(h, &crc, head, sizeof head) || send_part(h, &crc, found->bytes, 12 * found->count) ||
           (sent != 0 && send_part(h, &crc, call->previous, sent)) || send_crc(h, crc);
}

int harness_call(struct harness *h, const unsigned char *payload, size_t length)
{
    struct call call;
    const char *wrong = read_call(&call, payload, length);
    if (wrong != NULL) {
        harness_say(h, HARNESS_TROUBLE, wrong);
        return 1;
    }
    size_t outputs = 0;
    for (size_t i = 0; i < call.count; i++)
        outputs += call.entry->kinds[i] == 'p' && call.operands[i].role == OUTPUT ? call.operands[i].size : 0;
    if (h->arena_size < outputs) {
        harness_say(h, HARNESS_TROUBLE, "a call needs more memory than the harness has");
        return 1;
    }
    call.previous = h->arena;
    call.arena = h->arena + outputs;
    call.arena_end = h->arena + h->arena_size;

    const unsigned char *next = call.invocations;
    for (uint32_t index = 0; index < call.invocation_count; index++, next += 8 + 8 * call.pointers) {
        const uint32_t mask = harness_get(next, 4);
        const unsigned filling = next[4];
        const unsigned kind = next[5];
        struct disturbances found = {{0}, 0};
        wrong = place(h, &call, next + 8);
        if (wrong != NULL) {
            harness_say(h, HARNESS_TROUBLE, wrong);
            return 1;
        }
        for (size_t i = 0; i < call.count; i++)
            if (call.entry->kinds[i] == 'p')
                fill(&call.operands[i], filling, kind);
            else if (call.entry->kinds[i] == 'm')
                call.arguments[i].bits = mask;
        if (h->before)
            h->before(h, call.seconds);
        call.entry->call(call.arguments);
        const unsigned flags = h->after ? h->after(h) : 0;
        const uint32_t now = environment();
        if (now != h->environment && h->restore)
            h->restore(h);
        for (size_t i = 0; i < call.count; i++)
            if (call.entry->kinds[i] == 'p')
                check(&call.operands[i], i, kind, &found);
        if (send_result(h, &call, index, now, flags, &found))
            return 1;
    }
    return 0;
}
