"""The table of attacks and of their honest neighbours."""

from tests.attacks.abi import ABI
from tests.attacks.attack import Attack
from tests.attacks.ends import ENDS
from tests.attacks.honest import HONEST
from tests.attacks.interpreter import INTERPRETER
from tests.attacks.judge import JUDGE
from tests.attacks.recognition import GUARDS, RECOGNITION
from tests.attacks.residue import MEMORY, PROCESSES, STATE
from tests.attacks.swapped import SWAPPED

#: Groups in the order in which tables list them: what they are, and what stops them where no machine lacks it.
GROUPS = {
    "ends": ("Processes that end", "every end is an outcome"),
    "processes": ("Processes that stay", "processes are counted"),
    "registers": ("Registers and modes", "registers are compared"),
    "state": ("State left behind", "process state is compared"),
    "memory": ("Memory lost", "memory is measured"),
    "guards": ("Operands and what surrounds them", "operands are judged from outside"),
    "recognition": ("Right only while tested", "the test is drawn anew for each run"),
    "interpreter": ("What shares the library's process", "nothing that decides is in its process"),
    "judge": ("The judge and other processes", ""),
    "files": ("Files", ""),
    "network": ("Networks", ""),
    "kernel": ("Services of the kernel", ""),
    "copy": ("The library's file", "a sealed copy runs"),
    "honest": ("Honest neighbours", ""),
}

ATTACKS: list[Attack] = sorted(
    [*ENDS, *PROCESSES, *ABI, *STATE, *MEMORY, *GUARDS, *RECOGNITION, *INTERPRETER, *JUDGE, *SWAPPED, *HONEST],
    key=lambda a: list(GROUPS).index(a.group),
)
