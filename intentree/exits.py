"""How a verb ends: with one line on stderr for a mistake that has a name, with a traceback only for a fault of ours.

Exit codes: 0 done, 1 evidence of a leak (`features --audit`), 2 a mistake in the call, the TOML file or the data, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

EVIDENCE = 1
MISTAKE = 2
STOPPED = 130
# By the name of their module, so that no package is imported before a verb needs it.
_NAMED = {"features.errors", "hybrid.errors", "tuning.errors", "intentree.errors"}
_BOOSTERS = {"xgboost.core", "lightgbm.basic"}  # which refuse values of [model] booster_params


class Verbs(TyperGroup):
    """The verbs, and how each of them ends."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with _plain_warnings():
                return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            _say(str(stop) or "stopped by Ctrl-C")
            raise typer.Exit(STOPPED) from None
        except BrokenPipeError:  # the reader of our output has gone; Typer knows what to do
            raise
        except Exception as error:
            if not _is_mistake(error):
                raise
            if ctx.params["debug"]:
                traceback.print_exception(error)
            _say(_message(error))
            raise typer.Exit(MISTAKE) from None


def _is_mistake(error: Exception) -> bool:
    named = any(kind.__module__ in _NAMED | _BOOSTERS for kind in type(error).__mro__)
    return named or isinstance(error, OSError | ImportError)


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error).split("Stack trace:")[0]  # XGBoost appends one of its own


def _say(message: str) -> None:
    print(f"intentree: {' '.join(message.split())}", file=sys.stderr)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings as one line each, without the place in the code that a user of the command line has no use for."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *where, **more: _say(f"warning: {message}")
        yield
