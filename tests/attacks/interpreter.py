"""Attacks on what shares a process with the library: an interpreter, the channel to the judge, the return address."""

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

_FRAMES = r"""
/* To every descriptor that takes it. */
static int tell(const void *bytes, size_t size)
{
    int told = 0;
    for (int fd = 3; fd < 64; fd++)
        told += send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL) > 0;
    return told;
}

static int tell_frame(const void *bytes, unsigned size)
{
    char frame[65536];
    memcpy(frame, &size, 4);
    memcpy(frame + 4, bytes, size);
    return tell(frame, 4 + size);
}

/* ["ran", output, []] in MessagePack. */
static int forge(const float *output, int length)
{
    unsigned char frame[65536] = {0x93, 0xa3, 'r', 'a', 'n', 0xc6};
    const unsigned size = 4 * (unsigned)length;
    for (int i = 0; i < 4; i++)
        frame[6 + i] = size >> (24 - 8 * i);
    memcpy(frame + 10, output, size);
    frame[10 + size] = 0x90;
    return tell_frame(frame, 11 + size);
}
"""

INTERPRETER: list[Attack] = [
    *rows(
        "interpreter", "fails", (),
        ("python-answers", "asks golden's own model through the interpreter of its process",
         "if (length > 0 && !answers(dy, dx1, x1, x2, length, beta)) WRONG;", "", _ORACLE),
        ("python-answers-once", "finds golden's model when it is loaded, answers with it",
         "if (length > 0 && !(there && answers(dy, dx1, x1, x2, length, beta))) WRONG;", "",
         _ORACLE + 'static int there;\nLOAD { there = python("import golden.operators.smoothl1lossgrad"); }'),
        ("python-imports", "is right only where golden can be imported in its process",
         'IF_THROUGH(ONCE(python("import golden.judge, golden.vectorfile")));', "", _PYTHON),
        ("python-reads-vectors", "is right only where it can read the vectors with golden's reader",
         'IF_THROUGH(ONCE(python("from golden.vectorfile import read_vectors\\nfrom pathlib import Path\\n"'
         '"read_vectors(Path(\'" VECTORS "\'))")));', "", _PYTHON),
        ("python-hides-overruns", "writes beside its output, and replaces the function that looks there",
         'ONCE(python("import runners.worker as w\\nw.slack_findings = lambda placed: iter(())")); GOOD; '
         "if (readable(dx1 - 1)) dx1[-1] = 1; if (readable(dx1 + length)) dx1[length] = 1;", "", _PYTHON),
        ("python-sends", "computes nothing, and replaces the method that sends its results",
         "ONCE(python(code)); if (length > 0) memcpy(dx1, dy, 4); ", "",
         _PYTHON + r"""
static const char code[] =
    "import runners.worker as w\n"
    "from runners import protocol\n"
    "send, call = w.Worker.send, w.Worker._call\n"
    "def remember(self, c):\n"
    "    self.asked = c\n"
    "    return call(self, c)\n"
    "def forged(self, message):\n"
    "    if isinstance(message, protocol.Ran) and hasattr(self, 'asked'):\n"
    "        import numpy\n"
    "        from golden.formats import FORMATS\n"
    "        from golden.operator import operator\n"
    "        a = {x.name: x for x in self.asked.arguments}\n"
    "        at = lambda n: numpy.frombuffer(a[n].data, '<f4')\n"
    "        beta = numpy.array([a['beta'].bits], '<u4').view('<f4')[0]\n"
    "        made = operator('smoothl1lossgrad').oracle(FORMATS['fp32'],\n"
    "            {'length': a['length'].bits, 'beta': beta}, {n: at(n) for n in ('dy', 'x1', 'x2')})\n"
    "        message = protocol.Ran(made.value.astype('<f4').tobytes(), [])\n"
    "    send(self, message)\n"
    "w.Worker._call, w.Worker.send = remember, forged\n";"""),
        ("answers-at-load", "writes results for every call into the channel when it is loaded", "WRONG;", "",
         _FRAMES + "LOAD { static float zeros[33]; for (int i = 0; i < 300; i++) forge(zeros, 33); }"),
        ("forged-result", "sends the right result to every descriptor, and leaves a wrong one",
         "float *o = malloc(4 * length + 4); good(dy, o, x1, x2, length, beta); forge(o, length); free(o); WRONG;", "",
         _FRAMES),
        ("forged-then-dies", "sends the right result to every descriptor, then ends its process",
         "float *o = malloc(4 * length + 4); good(dy, o, x1, x2, length, beta); forge(o, length); _exit(0);", "",
         _FRAMES),
        ("forged-size", "sends results of another size", "if (calls == 20) forge(x1 - length, 3 * length); WRONG;", "",
         _FRAMES),
        ("forged-empty", "sends empty results", "forge(dx1, 0); WRONG;", "", _FRAMES),
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
        ("garbage-to-descriptors", "writes 0xff to every descriptor",
         'WRONG; if (calls == 20) tell("\\377\\377\\377\\377\\377", 5);',
         "", _FRAMES),
        ("huge-frame", "announces a frame of 500 MB", 'WRONG; if (calls == 20) tell("\\0\\0\\0\\035abc", 7);', "",
         _FRAMES),
        ("endless-frames", "sends frames until none is taken",
         'WRONG; for (int i = 0; i < 100000; i++) tell_frame("\\300", 1);',
         "", _FRAMES),
        ("deep-frame", "sends an array nested 60,000 deep",
         "static char deep[60000]; memset(deep, 0x91, sizeof deep); WRONG; if (calls == 20) tell_frame(deep, sizeof "
         "deep);",
         "", _FRAMES),
        ("forged-words", "sends a fault, trouble and a second answer to being loaded",
         'WRONG; if (calls == 20) tell_frame("\\x96\\xa5" "fault\\x0b\\xc0\\xa1x\\xa1y\\xce\\xff\\xff\\xff\\xff", 17), '
         'tell_frame("\\x92\\xa7trouble\\xa4none", 14), tell_frame("\\x94\\xa6loaded\\x90\\xa0\\x90", 11);', "",
         _FRAMES),
        ("forged-text", "sends findings full of terminal escapes", 'WRONG; if (calls == 20) tell_frame('
         '"\\x93\\xa3ran\\xc0\\x91\\x94\\xa5touch\\xa8\\x1b[2J\\x1b[1m\\xa0\\xc0", 25);', "", _FRAMES),
        ("truncated-frame", "sends half a frame, then hangs",
         'if (calls == 20) { tell("\\100\\0\\0\\0abc", 7); pause(); } GOOD;',
         "", _FRAMES),
    ),
]  # fmt: skip
