"""What a report says, in the reader's language: English as it is written in the code, or what a catalogue has for it.

A sentence stands in the code as ``say("{n} rows", n=count(n))``. The catalogue of another language, `zh.toml` for Chinese, has the same
sentence as its key, and its translation with the same placeholders.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from hybrid.errors import ParameterError

LANGUAGES = {"en": "English", "zh": "中文"}
"""What each language is called by those who speak it; the first is the one that the code is written in."""
BOTH = "both"

_spoken: ContextVar[str] = ContextVar("language", default="en")


def languages(lang: str) -> tuple[str, ...]:
    """The languages of a page: one, or each of them for "both".

    Raises
    ------
    ParameterError
        Another language.
    """
    if lang not in (*LANGUAGES, BOTH):
        raise ParameterError(f"lang must be {', '.join(map(repr, LANGUAGES))} or {BOTH!r}, not {lang!r}")
    return tuple(LANGUAGES) if lang == BOTH else (lang,)


@contextmanager
def speaking(lang: str) -> Iterator[None]:
    """Let `say` speak one of `LANGUAGES`.

    Examples
    --------
    >>> with speaking("zh"):
    ...     say("Sections")
    '目录'
    """
    token = _spoken.set(lang)
    try:
        yield
    finally:
        _spoken.reset(token)


def language() -> str:
    """The language that is spoken now."""
    return _spoken.get()


def say(message: str, /, **values: object) -> str:
    """A message in the language that is spoken now, with its placeholders filled; in English where the catalogue lacks it."""
    return catalogue(language()).get(message, message).format(**values)


def message(text: str) -> str:
    """The text as it is: marks what `say` is given later, from a table of constants, as a message of the catalogue."""
    return text


@dataclass(frozen=True)
class Sentence:
    """A message with its values that is kept, and said in the language that is spoken when it is read.

    Parameters
    ----------
    text : str
    values : mapping, default empty
        Of the placeholders; all that JSON can hold.

    Examples
    --------
    >>> rows = Sentence("{n} rows", {"n": 3})
    >>> with speaking("zh"):
    ...     str(rows)
    '3 行'
    >>> str(rows)
    '3 rows'
    """

    text: str
    values: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return say(self.text, **self.values)


def paragraph(sentences: Iterable[str]) -> str:
    """Sentences as one paragraph."""
    return say(" ").join(sentences)


def translated(text: str) -> str:
    """A text that may be the user's own: its translation if it is a message of the catalogue, else as it is, braces and all."""
    return catalogue(language()).get(text, text)


def gloss(name: str) -> str:
    """A name that stands in the data too, such as that of a group: its translation, and the name itself beside it."""
    found = translated(name)
    return name if found == name else f"{found}（{name}）"


def quoted(name: str) -> str:
    """A name from the data in quotation marks, with its translation where it has one."""
    return f"“{gloss(name)}”"


@cache
def catalogue(lang: str) -> dict[str, str]:
    """The messages of a language and their translations; none for English."""
    file = Path(__file__).with_name(f"{lang}.toml")
    return tomllib.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
