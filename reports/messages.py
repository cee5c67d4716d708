"""The language of a report. What golden says itself is looked up here; what results say stays as they say it.

English is the key: ``tr("Entry points")`` is that, or its translation while :func:`speaking` another language. Keys
are literals, or constants of :mod:`reports.text`, so that a test finds every one of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, get_args

from reports.messages_zh import ZH

Lang = Literal["en", "zh"]
LANGS: tuple[Lang, ...] = get_args(Lang)

_CATALOGUES: dict[Lang, dict[str, str]] = {"en": {}, "zh": ZH}
_language: ContextVar[Lang] = ContextVar("language", default="en")


@contextmanager
def speaking(lang: Lang) -> Iterator[None]:
    """Render in a language: ``with speaking("zh"): render_html(runs)``."""
    token = _language.set(lang)
    try:
        yield
    finally:
        _language.reset(token)


def language() -> Lang:
    """Return the language of the report that is being rendered."""
    return _language.get()


def tr(sentence: str, /, **values: object) -> str:
    """Return a sentence in the report's language, its ``{names}`` filled in."""
    found = _CATALOGUES[language()].get(sentence, sentence)
    return found.format(**values) if values else found
