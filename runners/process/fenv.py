"""The floating-point environment of a thread: what of it a call has to leave as it was."""

import ctypes
import platform
import struct
from typing import ClassVar

from runners.process import stub


class FloatingPoint:
    """Control bits of the thread's floating-point environment; the sticky status flags are ignored."""

    _NEAREST = ("to nearest", "downward", "upward", "toward zero")
    #: Machine -> (word's offset in fenv_t, format, first bit, bits, name, names of the values).
    FIELDS: ClassVar[dict[str, list[tuple[int, str, int, int, str, tuple[str, ...]]]]] = {
        "x86_64": [
            (28, "<I", 13, 2, "rounding mode", _NEAREST),
            (28, "<I", 15, 1, "flush-to-zero", ("off", "on")),
            (28, "<I", 6, 1, "denormals-are-zero", ("off", "on")),
            (28, "<I", 7, 6, "exception masks", ()),
            (0, "<H", 10, 2, "x87 rounding mode", _NEAREST),
            (0, "<H", 8, 2, "x87 precision", ("24 bits", "reserved", "53 bits", "64 bits")),
            (0, "<H", 0, 6, "x87 exception masks", ()),
        ],
        "aarch64": [
            (0, "<I", 22, 2, "rounding mode", ("to nearest", "upward", "downward", "toward zero")),
            (0, "<I", 24, 1, "flush-to-zero", ("off", "on")),
            (0, "<I", 19, 1, "fp16 flush-to-zero", ("off", "on")),
            (0, "<I", 25, 1, "default NaN", ("off", "on")),
            (0, "<I", 26, 1, "alternative half precision", ("off", "on")),
            (0, "<I", 8, 8, "exception traps", ()),
        ],
    }

    def __init__(self) -> None:
        try:
            libm = ctypes.CDLL("libm.so.6")
        except OSError:
            libm = ctypes.CDLL(None)
        self._get, self._set = libm.fegetenv, libm.fesetenv
        self._get.argtypes = self._set.argtypes = [ctypes.c_void_p]
        self._now = ctypes.create_string_buffer(128)
        self.keep()

    def get(self, address: int) -> object:
        """Store the environment at an address."""
        return self._get(address)

    def set(self, address: int) -> object:
        """Take the environment from an address."""
        return self._set(address)

    @property
    def kept(self) -> bytes:
        """The kept environment, as ``fenv_t``."""
        return self._kept[: stub.ENVIRONMENT]

    def keep(self) -> None:
        """Take the present environment for the one that calls have to leave behind."""
        self._get(self._now)
        self._kept = self._now.raw

    def changes(self) -> list[str]:
        """Say what differs from the kept environment, such as "rounding mode from to nearest to upward"."""
        self._get(self._now)
        return self.differences(self._kept, self._now.raw)

    @classmethod
    def differences(cls, before: bytes, after: bytes) -> list[str]:
        """Say what differs between two environments, each as ``fenv_t``."""
        found = []
        for at, form, shift, width, name, words in cls.FIELDS.get(platform.machine(), []):
            was, now = (struct.unpack_from(form, raw, at)[0] >> shift & (1 << width) - 1 for raw in (before, after))
            if was != now:
                found.append(f"{name} from {_name(words, was)} to {_name(words, now)}")
        return found

    def restore(self) -> None:
        """Go back to the kept environment, and keep what the C library does not set back (x87 precision)."""
        self._set(ctypes.create_string_buffer(self._kept))
        self.keep()


def _name(names: tuple[str, ...], value: int) -> str:
    return names[value] if names else f"{value:#x}"
