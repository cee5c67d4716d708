"""Text that did not come from golden, made harmless to show: what a reader sees is what is there."""

import unicodedata

#: Controls, formats (bidirectional overrides, zero-width characters), lone surrogates, what is no character, line ends.
_INVISIBLE = {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}


def plain(text: str, lines: bool = False) -> str:
    """Write control characters, bidirectional overrides and lone surrogates as escapes; with ``lines``, lines stay.

    Names, messages and reasons come from files, libraries and command lines of others; escapes of theirs would clear a
    screen and print another verdict.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _escaped(c) if unicodedata.category(c) in _INVISIBLE and not (lines and c == "\n") else c for c in text
    )


def _escaped(character: str) -> str:
    if character < "\x80":
        return repr(character)[1:-1]
    return character.encode("ascii", "backslashreplace").decode()
