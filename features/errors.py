"""The mistakes that `features` tells apart."""

from __future__ import annotations


class ColumnError(ValueError):
    """A column is missing, is there twice, or has a dtype or values that cannot be used."""


class TimestampError(ColumnError):
    """Timestamps that cannot be compared: not temporal, null, or with and without a time zone."""


class EmptyFrameError(ValueError):
    """A frame without rows where rows are needed."""


class DeclarationError(ValueError):
    """A declaration (log, key, window, rate) that means nothing or contradicts itself."""


class FileError(ValueError):
    """Files that are not there, are not Parquet, do not fit together, or cannot be written."""
