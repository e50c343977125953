"""Where each worker computes: its share of the cores, and the GPU that it sees."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


def slots(
    n_workers: int, *, n_jobs: int, device: str | None, devices: Sequence[str], environ: Mapping[str, str] = os.environ
) -> list[dict[str, str]]:
    """What to set in the environment of each worker.

    Parameters
    ----------
    n_workers : int
    n_jobs : int
        Threads of one worker; fewer where the environment already says fewer.
    device : str or None
        "cuda" or "cuda:N"; None for the CPU.
    devices : sequence of str
        The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them. Workers take turns where there are fewer than workers; a
        device with a number is the one of all.

    Returns
    -------
    list of dict
        One a worker.

    Examples
    --------
    >>> [slot["CUDA_VISIBLE_DEVICES"] for slot in slots(3, n_jobs=4, device="cuda", devices=["2", "5"])]
    ['2', '5', '2']
    """
    made = []
    for number in range(n_workers):
        slot = {name: str(_fewer(environ.get(name), n_jobs)) for name in _THREADS}
        if device is not None:
            _, _, asked = device.partition(":")
            slot["CUDA_VISIBLE_DEVICES"] = devices[int(asked) if asked else number % len(devices)]
        made.append(slot)
    return made


def visible_devices(n_devices: int, environ: Mapping[str, str] = os.environ) -> list[str]:
    """The GPUs that this process sees, by the names that a process which it starts knows them by."""
    named = environ.get("CUDA_VISIBLE_DEVICES", "")
    return [name.strip() for name in named.split(",") if name.strip()] or [str(number) for number in range(n_devices)]


def _fewer(given: str | None, n_jobs: int) -> int:
    return min(int(given), n_jobs) if given is not None and given.isdigit() and int(given) else n_jobs
