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

#: Groups in the order in which tables list them, and what they are.
GROUPS = {
    "ends": "Processes that end",
    "processes": "Processes that stay",
    "registers": "Registers and modes",
    "state": "State left behind",
    "memory": "Memory lost",
    "guards": "Operands and what surrounds them",
    "recognition": "Right only while tested",
    "interpreter": "What shares the library's process",
    "judge": "The judge and other processes",
    "files": "Files",
    "network": "Networks",
    "kernel": "Services of the kernel",
    "copy": "The library's file",
    "honest": "Honest neighbours",
}

ATTACKS: list[Attack] = sorted(
    [*ENDS, *PROCESSES, *ABI, *STATE, *MEMORY, *GUARDS, *RECOGNITION, *INTERPRETER, *JUDGE, *SWAPPED, *HONEST],
    key=lambda a: list(GROUPS).index(a.group),
)
