"""What an attack is, and how it becomes a shared library."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runners.toolchain.build import build_library, include_dir

#: What golden must do. ``fails``: not call the build conforming; ``remark``: say what happened, whatever the verdict;
#: ``untouched``: keep everything outside as it was, whatever the verdict; ``conforms``: accept an honest build;
#: ``documented``: nothing, because docs/trust.md says that this cannot be told.
Must = Literal["fails", "remark", "untouched", "conforms", "documented"]

HEADER = Path(__file__).with_name("attack.h")
FLAGS = ("-DGOLDEN_FP32_ONLY", "-D_GNU_SOURCE", "-std=gnu11", "-w", "-pthread")


@dataclass(frozen=True)
class Attack:
    """A few lines of C around the healthy kernel.

    ``body``: the kernel's, empty where ``before``, at file scope, defines it. ``words``: regular expressions that
    failures or findings must match. ``layers``: each alone stops it; none: no layer that a machine can lack.
    ``swapped``: the body of a build that is renamed over the file while it is loaded.
    """

    name: str
    group: str
    description: str
    body: str
    must: Must = "fails"
    words: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    before: str = ""
    flags: tuple[str, ...] = ()
    timeout: float = 3.0
    swapped: str = ""

    @property
    def source(self) -> str:
        """Return the whole C file."""
        kernel = f"KERNEL\n{{\n    calls++;\n    {self.body}\n}}\n" if self.body else ""
        return f'#include "{HEADER.name}"\n\n{self.before}\n{kernel}'


def build(attack: Attack, scratch: Path, lurker: str, scope: int, defines: dict[str, str]) -> Path:
    """Compile an attack on processes below ``scope`` and files in ``scratch``; raises UsageError as golden does.

    ``lurker``: what processes that are left are called. ``defines``: further names of texts that attacks use.
    """
    source = scratch.with_name(f"{scratch.name}.c")
    source.write_text(attack.source)
    texts = {"SCRATCH": str(scratch), "LURKER": lurker, **defines}
    macros = [f'-D{name}="{text}"' for name, text in texts.items()]
    macros += [f"-DSCOPE={scope}", f"-DPIDNS={Path('/proc/self/ns/pid').stat().st_ino}UL"]
    flags = [*FLAGS, *macros, f"-I{include_dir()}", f"-I{HEADER.parent}", *attack.flags, "-ldl", "-lm", "-lrt"]
    return build_library(scratch.with_name(f"{scratch.name}.so"), sources=[source], cflags=flags)


def rows(group: str, must: Must, layers: Sequence[str], *attacks: Sequence[object]) -> list[Attack]:
    """Return attacks that share group, property and layers: name, description, body, words, file scope."""
    made = []
    for name, description, body, *rest in attacks:
        words, before = (*rest, "", "")[:2]
        wanted = (words,) if words else ()
        made.append(Attack(str(name), group, str(description), str(body), must, wanted, tuple(layers), str(before)))
    return made
