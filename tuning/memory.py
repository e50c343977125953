"""How much memory a study may keep things in."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hybrid.errors import ParameterError

_UNITS = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}


def n_bytes(memory: int | str) -> int:
    """Bytes of a number, or of a number with a unit.

    Examples
    --------
    >>> n_bytes("4GB"), n_bytes("1.5 GiB")
    (4000000000, 1610612736)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?B)", memory.strip().upper()) if isinstance(memory, str) else None
    given = float(match[1]) * _UNITS.get(match[2], 0) if match else memory
    if isinstance(given, str | bool) or not given >= 1:
        raise ParameterError(f"memory={memory!r} is not a number of bytes, or one with a unit such as '500MB' or '4GB'")
    return int(given)


def available() -> int:
    """Bytes that this process may still take: what the machine has free, or its control group, whichever is less."""
    limits = [_free_of_machine()]
    try:  # of a container (cgroup v2)
        group = Path("/sys/fs/cgroup")
        most, used = (group / "memory.max").read_text().strip(), (group / "memory.current").read_text()
        if most != "max":
            limits.append(int(most) - int(used))
    except (OSError, ValueError):
        pass
    return max(min(limits), 0)


def _free_of_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    try:  # macOS has no such file; half of its memory is a fair guess
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return 4 << 30
