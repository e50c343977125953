"""The TOML file as it is read: parsed first, so that a slip in it is told before seconds of imports, then checked."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intentree.errors import ConfigError

if TYPE_CHECKING:
    from intentree.config import Config


def read_config(file: Path) -> Config:
    """Read and check a TOML file.

    Raises
    ------
    ConfigError
        The file is not there, is no TOML, or has a key or value that nothing takes. Names the file, the table and the key.
    """
    parsed = _parse(file)
    from intentree.config import Config  # knows the API's parameters, so it imports all packages

    return Config.check(parsed, file)


def _parse(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no file {file}; `intentree fit --help` shows how to write one") from None
    except IsADirectoryError:
        raise ConfigError(f"{file} is a folder; name the TOML file in it") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from None
