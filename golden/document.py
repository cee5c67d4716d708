"""What golden writes down and shows: structures whose texts are plain from the moment that they are made or read."""

from typing import ClassVar

import msgspec

from golden.text import plain


class Document:
    """What structures inherit beside :class:`msgspec.Struct` that hold text of others, such as libraries or files.

    This is the one place where such text becomes plain (:func:`golden.text.plain`): whoever shows a document needs to
    escape what its own format gives a meaning, and nothing else.
    """

    __slots__ = ()
    __struct_fields__: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        """Make texts, and texts in lists and as keys and values, plain; parts that are documents have done so."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if (shown := _shown(value)) is not value:
                msgspec.structs.force_setattr(self, name, shown)  # type: ignore[arg-type]  # it is a Struct


def _shown(value: object) -> object:
    """Return a value with plain texts; the same object where they are plain already."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list | tuple):
        items = [_shown(item) for item in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else type(value)(items)
    if isinstance(value, dict):
        pairs = [(_shown(key), _shown(item)) for key, item in value.items()]
        same = all(a is k and b is v for (a, b), (k, v) in zip(pairs, value.items(), strict=True))
        return value if same else dict(pairs)
    return value
