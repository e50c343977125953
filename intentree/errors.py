"""The mistakes that the command line tells apart."""

from __future__ import annotations


class ConfigError(ValueError):
    """A TOML file that cannot be read, or holds what no parameter can take."""


class TableError(ValueError):
    """A file of events or examples that is not there, cannot be read, or lacks a column."""
