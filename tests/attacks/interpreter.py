"""Attacks on what shares a process with the library: an interpreter, the channel to the judge, the return address."""

import signal

from runners.process import messages, stub
from tests.attacks.attack import Attack, rows

_PYTHON = r"""
static int python(const char *code)
{
    int (*run)(const char *) = dlsym(RTLD_DEFAULT, "PyRun_SimpleString");
    int (*ensure)(void) = dlsym(RTLD_DEFAULT, "PyGILState_Ensure");
    void (*release)(int) = dlsym(RTLD_DEFAULT, "PyGILState_Release");
    if (run == NULL || ensure == NULL || release == NULL)
        return 0;
    const int state = ensure();
    const int failed = run(code);
    release(state);
    return failed == 0;
}
"""

_ORACLE = (
    _PYTHON
    + r"""
static int answers(float *dy, float *dx1, float *x1, float *x2, int length, float beta)
{
    static char code[2048];
    snprintf(code, sizeof code,
             "import ctypes, numpy\n"
             "from golden.formats import FORMATS\n"
             "from golden.operator import operator\n"
             "def at(p): return numpy.frombuffer((ctypes.c_char * %d).from_address(p), '<f4').copy()\n"
             "made = operator('smoothl1lossgrad').oracle(FORMATS['fp32'],\n"
             "    {'length': %d, 'beta': numpy.frombuffer(bytes.fromhex('%08x'), '>f4')[0]},\n"
             "    {'dy': at(%lu), 'x1': at(%lu), 'x2': at(%lu)})\n"
             "data = made.value.astype('<f4').tobytes()\n"
             "ctypes.memmove(%lu, data, len(data))\n",
             4 * length, length, *(unsigned *)&beta, (unsigned long)dy, (unsigned long)x1, (unsigned long)x2,
             (unsigned long)dx1);
    return python(code);
}
"""
)

#: Makes the calls of a batch by golden's own model, and writes into the frames what a call leaves.
_CALLS = r"""
static const char code[] =
    "import ctypes, struct, numpy\n"
    "import runners.process.worker as w\n"
    "from runners.process import stub\n"
    "from golden.formats import FORMATS\n"
    "from golden.operator import operator\n"
    "def at(p, n): return numpy.frombuffer((ctypes.c_char * (4 * n)).from_address(p), '<f4').copy()\n"
    "def answer(header, count):\n"
    "    kept = ctypes.string_at(header, stub.HEADER)\n"
    "    word, control = struct.unpack_from('<IH', kept)\n"
    "    for f in range(header + stub.HEADER, header + stub.HEADER + count * stub.FRAME, stub.FRAME):\n"
    "        a = (ctypes.c_uint64 * stub.INTEGERS).from_address(f + 8)\n"
    "        dy, dx1, x1, x2, n = a[:5]\n"
    "        beta = numpy.frombuffer(ctypes.string_at(f + 8 + 8 * stub.INTEGERS, 4), '<f4')[0]\n"
    "        made = operator('smoothl1lossgrad').oracle(FORMATS['fp32'], {'length': n, 'beta': beta},\n"
    "            {'dy': at(dy, n), 'x1': at(x1, n), 'x2': at(x2, n)})\n"
    "        ctypes.memmove(dx1, made.value.astype('<f4').tobytes(), 4 * n)\n"
    "        left = stub._AFTER_CALL.pack(1, 0, *struct.unpack_from('<6Q', kept, 16), 0, control, 0xffff, word)\n"
    "        ctypes.memmove(f + stub.LEFT, left, len(left))\n"
    "run = w.Worker._run\n"
    "def running(self, batch):\n"
    "    self._call = answer\n"
    "    run(self, batch)\n"
    "w.Worker._run = running\n";
LOAD { python(code); }
"""


def _bytes(data: bytes) -> str:
    """Return bytes as the elements of a C array."""
    return ", ".join(map(str, data))


def _done(bank: int, memory: tuple[int, int] = (0, 0)) -> str:
    return f"{{{_bytes(messages.frame(messages.Done(bank, [], memory)))}}}"


#: What golden's judge and worker have between them: the socket, and the frames of calls in shared memory.
_FRAMES = (
    f"""
enum {{ BANKS = {messages.BANKS}, HEADER = {stub.HEADER}, FRAME = {stub.FRAME}, BATCH = {stub.BATCH}, }};
enum {{ PROGRESS = {stub._PROGRESS}, RETURNED = {stub.LEFT}, POINTERS = 8 }};
"""
    + r"""
/* To every socket that takes it. */
static int tell(const void *bytes, size_t size)
{
    int told = 0;
    for (int fd = 3; fd < 64; fd++)
        told += send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL) > 0;
    return told;
}

#define TELL(...) do { static const unsigned char f[] = {__VA_ARGS__}; tell(f, sizeof f); } while (0)

/* The header of the batch that the running call belongs to, by the address of its output. */
static char *header(const void *output, int *bank)
{
    static char *frames;
    static size_t size;
    char line[512];
    unsigned long low, high;
    FILE *maps = frames == NULL ? fopen("/proc/self/maps", "r") : NULL;
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
        if (strstr(line, "memfd:frames") && sscanf(line, "%lx-%lx", &low, &high) == 2)
            frames = (char *)low, size = (high - low) / BANKS;
    if (maps != NULL)
        fclose(maps);
    for (*bank = 0; frames != NULL && *bank < BANKS; ++*bank) {
        char *at = frames + *bank * size;
        const uint64_t begun = *(uint64_t *)(at + PROGRESS);
        const void **pointers = (const void **)(at + HEADER + (begun - 1) * FRAME + POINTERS);
        for (int i = 0; begun > 0 && begun <= BATCH && i < 6; i++)
            if (pointers[i] == output)
                return at;
    }
    return NULL;
}

/* Counts the calls of a batch: those that have begun, and those that have not returned; what follows is older. */
static int calls_in(const char *at)
{
    int count = *(const uint64_t *)(at + PROGRESS);
    while (count < BATCH && *(void **)(at + HEADER + count * FRAME) != NULL &&
           *(const uint64_t *)(at + HEADER + count * FRAME + RETURNED) == 0)
        count++;
    return count;
}

/* Says of all calls of the batch that they have begun and returned. */
static void all_returned(char *at)
{
    const int count = calls_in(at);
    for (int i = 0; i < count; i++)
        *(uint64_t *)(at + HEADER + i * FRAME + RETURNED) = 1;
    *(uint64_t *)(at + PROGRESS) = count;
}

/* Tells whether a call is the last of its batch. */
static int is_last(const char *at) { return *(uint64_t *)(at + PROGRESS) == calls_in(at); }
"""
    + f"""
static const unsigned char done[BANKS][{len(messages.frame(messages.Done(0, [], (0, 0))))}] =
    {{{", ".join(_done(bank) for bank in range(messages.BANKS))}}};
static void tell_done(int bank) {{ tell(done[bank], sizeof done[bank]); }}
"""
)

_LOADED = messages.frame(messages.Loaded({"fp_smoothl1lossgrad_p": 1 << 63}, "", [], bytes(stub.ENVIRONMENT)))
#: Says that the library is loaded and its entry point elsewhere, in the environment that is now.
_ELSEWHERE = (
    _FRAMES
    + f"""
static void elsewhere(void *function)
{{
    static unsigned char frame[] = {{{_bytes(_LOADED)}}};
    for (int i = 0; i < 8; i++)
        frame[{_LOADED.index((1 << 63).to_bytes(8, "big"))} + i] = (uint64_t)function >> (56 - 8 * i);
    fegetenv((fenv_t *)(frame + {_LOADED.index(bytes(stub.ENVIRONMENT))}));
    tell(frame, sizeof frame);
}}
"""
)


def _told(message: object) -> str:
    """Return C code that sends a message of the worker's."""
    return f"TELL({_bytes(messages.frame(message))});"


_FAULT = _told(messages.Fault(signal.SIGSEGV, None, "write", "x1", 7))
_ESCAPES = "\x1b[2J\x1b[1mconforms"


INTERPRETER: list[Attack] = [
    *rows(
        "interpreter", "fails", (),
        ("python-answers", "asks golden's own model through the interpreter of its process",
         "if (length > 0 && !answers(dy, dx1, x1, x2, length, beta)) WRONG;", "", _ORACLE),
        ("python-answers-once", "finds golden's model when it is loaded, answers with it",
         "if (length > 0 && !(there && answers(dy, dx1, x1, x2, length, beta))) WRONG;", "",
         _ORACLE + 'static int there;\nLOAD { there = python("import golden.operators.smoothl1lossgrad"); }'),
        ("python-imports", "is right only where golden can be imported in its process",
         'IF_THROUGH(ONCE(python("import golden.judge, golden.files.vectors")));', "", _PYTHON),
        ("python-reads-vectors", "is right only where it can read the vectors with golden's reader",
         'IF_THROUGH(ONCE(python("from golden.files.vectors import read_vectors\\nfrom pathlib import Path\\n"'
         '"read_vectors(Path(\'" VECTORS "\'))")));', "", _PYTHON),
        ("python-hides-overruns", "writes beside its output, and replaces all functions that look at what calls leave",
         'ONCE(python("import runners.process.worker as w\\nw.ProcessState.changes = lambda *a, **k: []\\n"'
         '"w.Worker._children = lambda self: []")); GOOD; '
         "if (readable(dx1 - 1)) dx1[-1] = 1; if (readable(dx1 + length)) dx1[length] = 1;", "beyond|before", _PYTHON),
        ("python-makes-the-calls", "computes nothing, and replaces what calls it by golden's model",
         "WRONG;", "", _PYTHON + _CALLS),
        ("answers-at-load", "says of 300 batches that they are done when it is loaded", "WRONG;", "asked for",
         _FRAMES + "LOAD { for (int i = 0; i < 300; i++) tell_done(i % BANKS); }"),
        ("done-not-due", "says that a batch is done which is not due",
         "GOOD; int b; if (calls == 20 && header(dx1, &b)) tell_done((b + 1) % BANKS);", "asked for", _FRAMES),
        ("done-unknown", "says that a batch is done which there is not, with absurd amounts of memory",
         "GOOD; if (calls == 20) { " + _told(messages.Done(1 << 62, [], (-1 << 63, (1 << 64) - 1))) + " }",
         "asked for|not its own", _FRAMES),
        ("done-early", "says that its batch is done before its calls are made",
         "int b; if (calls == 20 && header(dx1, &b)) tell_done(b), usleep(50000); GOOD;", "asked for", _FRAMES),
        ("done-and-returned-early", "says so of its calls too, where they would say it",
         "int b; char *h = header(dx1, &b); if (calls == 20 && h) all_returned(h), tell_done(b), usleep(50000); GOOD;",
         "outside every legal bound|asked for", _FRAMES),
        ("done-ahead", "makes all calls of its batch at once, says that it is done, then writes beside its output",
         "GOOD; int b; char *h = header(dx1, &b); if (calls % 32 == 20 && h) { ahead(h); all_returned(h); "
          "tell_done(b); usleep(50000); if (readable(dx1 + length)) dx1[length] = 1; "
         "if (readable(dx1 - 1)) dx1[-1] = 1; }",
         "asked for", _FRAMES + """
static void ahead(char *at)
{
    for (int i = 0, n = calls_in(at); i < n; i++) {
        void **p = (void **)(at + HEADER + i * FRAME + POINTERS);
        float beta;
        memcpy(&beta, p + 16, 4);
        good(p[0], p[1], p[2], p[3], (int)(intptr_t)p[4], beta);
    }
}"""),
        ("done-twice", "says that its batch is done, and so does the worker",
         "GOOD; int b; char *h = header(dx1, &b); if (calls > 20 && h && is_last(h)) all_returned(h), tell_done(b);",
         "asked for", _FRAMES),
        ("progress-forged", "hangs, while a thread of its own says that there is progress",
         "if (calls == 20) leave_thread(progress, dx1), pause(); GOOD;", "did not return", _FRAMES + """
static void *progress(void *output)
{
    int b;
    char *at = header(output, &b);
    for (unsigned n = 0; at; usleep(20000))
        *(volatile uint64_t *)(at + PROGRESS) = 1 + n++ % 2;
    return at;
}"""),
        ("trickle", "hangs, while a thread of its own sends an answer ten times a second",
         "if (calls == 20) leave_thread(trickle, 0), pause(); GOOD;", "asked for|did not return", _FRAMES +
         "static void *trickle(void *p) { for (;; usleep(100000)) " +
         _told(messages.Trouble("none")) + " return p; }"),
        ("refused-trickle", "hangs, and tries something that is refused once a second",
         "if (calls == 20) for (;; sleep(1)) kill(1, 0); GOOD;", "did not return"),
        ("load-trickle", "its constructor hangs, and tries something that is refused once a second", "GOOD;",
         "loading|longer", "LOAD { for (;; sleep(1)) kill(1, 0); }"),
        ("returned-then-dies", "says that all calls of its batch have returned, then ends its process",
         "int b; char *h = header(dx1, &b); if (calls == 20 && h) all_returned(h), _exit(0); GOOD;", "exit|ended",
         _FRAMES),
        ("fault-then-hangs", "says that it has crashed, and hangs, in every call",
         _FAULT + " pause();", "did not return", _FRAMES),
        ("fault-then-dies", "blames an input for its crash, and ends its process",
         f"if (calls == 20) {{ {_FAULT} _exit(0); }} GOOD;", "x1|SIGSEGV|exit", _FRAMES),
        ("loaded-first", "says that it is loaded, with another entry point, before the worker does", "WRONG;",
         "asked for", _ELSEWHERE + "LOAD { elsewhere(good); }"),
        ("loaded-again", "says that it is loaded, with another entry point, when it is called",
         "WRONG; elsewhere(good);", "asked for", _ELSEWHERE),
        ("half-a-frame", "sends half a frame, and goes on", 'GOOD; if (calls == 20) tell("\\20\\0\\0\\0abc", 7);', ".",
         _FRAMES),
        ("patched-check", "leaves another rounding mode, and overwrites the function that would tell",
         "GOOD; ONCE(patch()); fesetround(FE_UPWARD);", "", r"""
static int patch(void)
{
    unsigned char *at = dlsym(RTLD_DEFAULT, "fegetenv");
    if (at == NULL)
        at = dlsym(dlopen("libm.so.6", RTLD_NOW), "fegetenv");
    if (at == NULL || mprotect(PAGE_OF(at), 8192, PROT_READ | PROT_WRITE | PROT_EXEC) != 0)
        return 0;
    memcpy(at, "\x31\xc0\xc3", 3); /* xor eax, eax; ret */
    return 1;
}"""),
        ("jumps-out", "longjmp through a buffer that was never set",
         "jmp_buf b; memset(&b, 1, sizeof b); longjmp(b, 1);",
         "SIGSEGV"),
        ("wipes-the-stack", "overwrites the stack of its callers",
         "GOOD; if (calls == 20) memset(__builtin_frame_address(0), 0, 4096);", "SIG|crash|ended"),
        ("returns-elsewhere", "returns to its caller's caller",
         "GOOD; if (calls == 20) { void **f = __builtin_frame_address(0); f[1] = ((void **)f[0])[1]; f[0] = *(void "
         "**)f[0]; }",
         "."),
        ("closes-everything", "closes every descriptor but the first three", "GOOD; if (calls == 20) closefrom(3);",
         "."),
        ("null-in-every-descriptor", "leads every descriptor to /dev/null",
         'GOOD; int n = open("/dev/null", O_RDWR); for (int i = 3; i < 64; i++) if (i != n) dup2(n, i);', "."),
    ),
    *rows(
        "interpreter", "untouched", (),
        ("garbage-to-descriptors", "writes 0xff to every socket",
         'WRONG; if (calls == 20) tell("\\377\\377\\377\\377\\377", 5);', "not its own", _FRAMES),
        ("huge-frame", "announces a frame of 1 MiB and a byte", 'WRONG; if (calls == 20) tell("\\1\\0\\20\\0abc", 7);',
         "not its own", _FRAMES),
        ("endless-frames", "sends frames until none is taken",
         'WRONG; for (int i = 0; i < 100000; i++) tell("\\1\\0\\0\\0\\300", 5);', "", _FRAMES),
        ("deep-frame", "sends an array nested 60,000 deep",
         "static char deep[60004] = {0x60, 0xea}; memset(deep + 4, 0x91, 60000); WRONG; "
         "if (calls == 20) tell(deep, sizeof deep);", "not its own", _FRAMES),
        ("forged-text", "sends a last word full of terminal escapes",
         f"WRONG; if (calls == 20) {{ {_told(messages.Trouble(_ESCAPES))} _exit(0); }}", "unable to go on", _FRAMES),
        ("truncated-frame", "sends half a frame, then hangs",
         'if (calls == 20) { tell("\\100\\0\\0\\0abc", 7); pause(); } GOOD;', "did not return", _FRAMES),
    ),
    *rows(
        "interpreter", "documented", (),
        ("python-other-entry", "has the worker name another entry point than it exports, which is wrong", "WRONG;", "",
         _PYTHON + r"""
static char code[512];
LOAD
{
    snprintf(code, sizeof code,
             "import runners.process.worker as w\n"
             "made = w.messages.Loaded\n"
             "w.messages.Loaded = lambda symbols, *rest: made(dict.fromkeys(symbols, %lu), *rest)\n",
             (unsigned long)good);
    python(code);
}"""),
    ),
]  # fmt: skip
