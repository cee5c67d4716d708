"""Options from a file: ``golden.toml``, or ``[tool.golden]`` of ``pyproject.toml``, in this folder or one above.

One table a command, keys are the command's long options::

    [validate]
    platform = "MT7004"
    timeout = 30.0
    class = ["kink", "ties"]

The command line wins over the file, the file over the defaults. Paths in it are relative to the file.
"""

import hashlib
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from golden.commands.options import MaxUlp, long_name
from golden.errors import UsageError, nearest
from golden.files import reading

NAME = "golden.toml"
_SHARED = "pyproject.toml"

#: Command -> parameter -> value, as click takes it.
Defaults = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Config:
    """Defaults with where they come from, such as ``golden.toml`` or ``[tool.golden] of ../pyproject.toml``.

    ``path`` and ``sha256``: of the file, as it was read.
    """

    source: str
    defaults: Defaults
    path: str
    sha256: str

    def __str__(self) -> str:
        return self.source


def find_config(start: Path) -> Path | None:
    """Return the file that holds for a folder: in it or the nearest above, up to the root of the repository.

    A folder with ``.git`` is the last one looked at, else the root of the file system. In one folder
    ``golden.toml`` comes before a ``pyproject.toml``, which counts only if it has the table ``[tool.golden]``.

    Raises :class:`UsageError` for one that somebody else has put there, or could change: it may say what is executed.
    """
    for folder in (start, *start.parents):
        own, shared = folder / NAME, folder / _SHARED
        with suppress(PermissionError):  # nothing can lie for us in a folder that may not be looked into
            if os.path.lexists(own):
                return _trusted(own)
            if (
                os.path.lexists(shared)
                and b"golden" in (text := _bytes(shared))
                and "golden" in _tool(_table(shared, text))
            ):
                return _trusted(shared)
            if (folder / ".git").exists():
                return None
    return None


def _trusted(path: Path) -> Path:
    """Return a file that was found; raises :class:`UsageError` if another user owns it or may write to it."""
    if not path.exists():  # a link to nowhere: who reads it says so
        return path
    file, folder = path.stat(), path.parent.stat()
    mine = file.st_uid in (os.getuid(), 0)
    others = file.st_mode & stat.S_IWOTH or (file.st_mode & stat.S_IWGRP and file.st_gid not in (os.getgid(), 0))
    replaceable = folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX
    if mine and not others and not replaceable:
        return path
    why = "another user may write to it" if mine else "it belongs to another user"
    raise UsageError(
        f"{path} would set options, and {why}. Name it with --config if you trust it, or go on with --no-config."
    )


def read_config(path: Path, commands: Mapping[str, click.Command]) -> Config:
    """Read a file and hold it against the commands' options.

    Raises :class:`UsageError` that names the file, the key and the nearest one there is.
    """
    text, shown = _bytes(path), os.path.relpath(path)
    content, digest, read = _table(path, text), hashlib.sha256(text).hexdigest(), shown
    if path.name == _SHARED:
        content, shown = _tool(content).get("golden", {}), f"[tool.golden] of {shown}"
    if not isinstance(content, dict):
        raise UsageError(f"{shown} is not a table.")
    defaults: Defaults = {}
    for name, table in content.items():
        if not isinstance(table, dict):
            raise UsageError(f"{shown}: {name!r} stands outside a command's table; write it below one, as [validate].")
        if name not in commands:
            raise UsageError(f"{shown}: there is no command {name!r}{_hint(name, commands)}")
        known = {long_name(p): p for p in commands[name].params if isinstance(p, click.Option)}
        for key, value in table.items():
            where = f"{shown}: [{name}] {key}"
            if key not in known:
                raise UsageError(f"{where}: {name!r} has no such option{_hint(key, known)}")
            option = known[key]
            defaults.setdefault(name, {})[str(option.name)] = _checked(option, value, where, path.parent)
    return Config(shown, defaults, read, digest)


def _checked(option: click.Option, value: object, where: str, folder: Path) -> object:
    """Return a value that the option takes; paths are made relative to where the command runs.

    Of an option that may be repeated, one value stands for a list of it alone.
    """
    if option.multiple:
        return [_single(option, item, where, folder) for item in (value if isinstance(value, list) else [value])]
    return _single(option, value, where, folder)


def _single(option: click.Option, value: object, where: str, folder: Path) -> object:
    wanted, words = _wanted(option)
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        raise UsageError(f"{where} takes {words}, not {value!r}.")
    is_path = isinstance(option.type, click.Path) or (
        option.name in ("platform", "suite") and str(value).endswith(".toml")
    )
    if is_path:
        value = os.path.relpath(folder / str(value))
    try:
        option.type.convert(value, option, None)
    except click.BadParameter as error:
        raise UsageError(f"{where}: {error.message}") from error
    return value


def _wanted(option: click.Option) -> tuple[tuple[type, ...], str]:
    if option.is_flag:
        return (bool,), "true or false"
    if isinstance(option.type, MaxUlp):
        return (int, float, str), 'a number, or a string such as "fp32=4.0"'
    if isinstance(option.type, click.types.IntParamType):
        return (int,), "a whole number"
    if isinstance(option.type, click.types.FloatParamType):
        return (int, float), "a number"
    return (str,), "a string in quotes"


def _hint(name: str, known: Mapping[str, object]) -> str:
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else f"; known are {', '.join(sorted(known))}."


def _tool(content: dict[str, Any]) -> dict[str, Any]:
    tool = content.get("tool", {})
    return tool if isinstance(tool, dict) else {}


def _bytes(path: Path) -> bytes:
    try:
        return reading.read_bytes(path, reading.TOML)
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}. Go on without it with --no-config.") from error


def _table(path: Path, text: bytes) -> dict[str, Any]:
    try:
        return reading.toml_of(text)
    except ValueError as error:
        raise UsageError(f"{os.path.relpath(path)} is not valid TOML: {str(error).rstrip('.')}.") from error
