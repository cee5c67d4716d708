"""Registers and modes that a call has to leave as they were (x86-64)."""

from tests.attacks.attack import Attack, rows

_SAVED = ("rbx", "rbp", "r12", "r13", "r14", "r15")


def _after(name: str, description: str, instructions: str, words: str) -> tuple[str, str, str, str, str]:
    return name, description, "", words, f'AFTER_GOOD("{instructions}");'


_ONE = "int one = 1; __asm__ volatile"

ABI: list[Attack] = [
    *rows(
        "registers", "fails", ("registers",),
        *(_after(f"clobbers-{r}", f"does not restore {r}", f"xor $0x5a5a, %{r}", f"{r}|register") for r in _SAVED),
        _after("clobbers-all", "restores no callee-saved register",
               "\\n".join(f"mov $7, %{r}" for r in _SAVED), "rbx|register"),
        _after("direction-flag", "leaves the direction flag set", "std", "direction"),
        _after("stack-pointer", "pops one word more than was pushed (stdcall)", "ret $8", "."),
        _after("alignment-check", "leaves alignment checking on", "pushfq\\norl $0x40000, (%rsp)\\npopfq", "."),
        _after("x87-stack", "leaves a value on the x87 stack", "fldz", "x87"),
        _after("x87-stack-full", "leaves the x87 stack full", "\\n".join(["fld1"] * 8), "x87"),
        _after("mmx-state", "leaves MMX state (no emms)", "pxor %mm0, %mm0", "MMX|x87"),
        _after("mxcsr-flush", "leaves flush-to-zero on",
               "sub $8, %rsp\\nstmxcsr (%rsp)\\norl $0x8000, (%rsp)\\nldmxcsr (%rsp)\\nadd $8, %rsp", "flush-to-zero"),
        _after("mxcsr-rounding", "leaves another rounding mode",
               "sub $8, %rsp\\nstmxcsr (%rsp)\\norl $0x4000, (%rsp)\\nldmxcsr (%rsp)\\nadd $8, %rsp", "rounding"),
        _after("mxcsr-unmasked", "leaves the exception for division by zero unmasked",
               "sub $8, %rsp\\nstmxcsr (%rsp)\\nandl $0xfffffdff, (%rsp)\\nldmxcsr (%rsp)\\nadd $8, %rsp", "exception"),
        _after("x87-precision", "leaves the x87 at 24 bits of precision",
               "sub $8, %rsp\\nfnstcw (%rsp)\\nandw $0xfcff, (%rsp)\\nfldcw (%rsp)\\nadd $8, %rsp", "precision"),
        _after("x87-rounding", "leaves another x87 rounding mode",
               "sub $8, %rsp\\nfnstcw (%rsp)\\norw $0x0c00, (%rsp)\\nfldcw (%rsp)\\nadd $8, %rsp", "rounding"),
    ),
    *rows(
        "registers", "remark", ("registers",),
        ("exception-flags", "raises division by zero where nothing is divided by zero",
         "GOOD; feraiseexcept(FE_DIVBYZERO);", "flag|exception"),
    ),
]  # fmt: skip
