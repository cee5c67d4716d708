"""Objects for the target ``python:MODULE:OBJECT``: right ones, and ones that do one thing wrong each."""

import atexit
import os
import signal
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np

from golden.formats import FORMATS, Array
from golden.operator import operators
from golden.working import WorkingPrecision


def formula(operator: str, dtype: str, scalars: dict[str, Any], operands: dict[str, Array]) -> Array:
    found, fmt = operators()[operator], FORMATS[dtype]
    given = {name: array.reshape(-1) for name, array in operands.items()}
    with np.errstate(all="ignore"):
        flat = found.evaluate("formula", WorkingPrecision(fmt), fmt, scalars, given)
    return flat.astype(fmt.dtype).reshape(found.shapes(scalars)[found.output.name])


def _misbehave(number: int, operands: dict[str, Array], output: Array) -> Any:
    """Do what goes with a length."""
    match number:
        case 1:
            return output.tolist()
        case 2:
            return output.astype(np.float64)
        case 3:
            return output[:2]
        case 4:
            raise ValueError("four is\nnot supported")
        case 5:
            os.kill(os.getpid(), signal.SIGSEGV)
        case 6:
            raise SystemExit(6)
        case 7:
            time.sleep(100)
        case 8:
            print("hello from Python")
        case 9:
            operands["x1"][4] = 7
        case 10:
            return np.array([operands[n].ctypes.data % 128 for n in ("dy", "x1", "x2")] + [0] * 7, np.float32)
        case 11:
            os.close(1)
    return output


def broken(operator: str, dtype: str, scalars: dict[str, Any], operands: dict[str, Array]) -> Any:
    return _misbehave(int(scalars.get("length", 0)), operands, formula(operator, dtype, scalars, operands))


def reads_logits(operator: str, dtype: str, scalars: dict[str, Any], operands: dict[str, Array]) -> Array:
    output = formula(operator, dtype, scalars, operands)
    return output + np.nan_to_num(operands["logits"], nan=0) if operator == "nlllossgrad" else output


class _Upward:
    """Leaves the rounding mode upward."""

    def __call__(self, operator: str, dtype: str, scalars: dict[str, Any], operands: dict[str, Array]) -> Array:
        import ctypes

        output = formula(operator, dtype, scalars, operands)
        ctypes.CDLL("libm.so.6").fesetround(0x800)
        return output


upward = _Upward()
fp32_only = SimpleNamespace(
    evaluate=formula, name="formula", version="1.2", operators={"smoothl1lossgrad": ["fp32"], "nlllossgrad": ["fp32"]}
)
no_mapping = SimpleNamespace(evaluate=formula, operators=["smoothl1lossgrad"])


class _Idle:
    """Ends the process when nothing has been called for a while."""

    def __init__(self) -> None:
        self._called = 0.0

    def __call__(self, operator: str, dtype: str, scalars: dict[str, Any], operands: dict[str, Array]) -> Array:
        first, self._called = not self._called, time.monotonic() + 1000
        if first:
            threading.Thread(target=self._end, daemon=True).start()
        output = formula(operator, dtype, scalars, operands)
        self._called = time.monotonic()
        return output

    def _end(self) -> None:
        while time.monotonic() - self._called < 0.5:
            time.sleep(0.05)
        os.abort()


def aborts_at_exit(operator: str, dtype: str, scalars: dict[str, Any], operands: dict[str, Array]) -> Array:
    atexit.register(os.abort)
    return formula(operator, dtype, scalars, operands)


idle = _Idle()
number = 7
