"""Which of LightGBM's tree learners run on this machine: tried in a process of their own, once."""

from __future__ import annotations

import functools
import subprocess
import sys

import torch

from hybrid.errors import DeviceError, ParameterError

LEARNERS = {"cpu": "cpu", "cuda": "cuda", "opencl": "gpu"}
"""LightGBM's ``device_type`` for a device; its "gpu" is OpenCL."""

PROBE = """
import sys
sys.modules.update(dict.fromkeys(("sklearn", "pandas", "pyarrow", "matplotlib", "dask")))  # LightGBM starts in a fifth of the time without
import lightgbm, numpy
x = numpy.arange(256, dtype=numpy.float32).reshape(-1, 1)
parameters = {"objective": "binary", "device_type": sys.argv[1], "max_bin": 15, "num_threads": 1, "verbosity": -1}
try:
    lightgbm.train(parameters, lightgbm.Dataset(x, x[:, 0] > 100), 1)
except lightgbm.basic.LightGBMError as error:
    sys.exit(f"LightGBM: {error}")
"""
PROBE_SECONDS = 180
"""PoCL compiles its kernels on the first run, which takes tens of seconds on a slow machine."""


def resolve_learner(device: str) -> str:
    """The device whose learner LightGBM will train with.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "opencl"}
        "cuda" takes the CUDA learner, or the OpenCL one where the build has no other; "auto" takes the CUDA learner where the build has
        it and torch finds a GPU, otherwise the CPU. "opencl" is what "cuda" may have been resolved to.

    Returns
    -------
    str
        "cpu", "cuda" or "opencl".

    Raises
    ------
    ParameterError
        The device is none of these.
    DeviceError
        A GPU learner is asked for and none runs.
    """
    if device not in ("auto", *LEARNERS):
        raise ParameterError(f"LightGBM's device must be 'auto', 'cpu' or 'cuda', not {device!r}")
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return "cpu"
    no_cuda = "not asked for" if device == "opencl" else failure("cuda")
    if no_cuda is None:
        return "cuda"
    if device == "auto":
        return "cpu"
    no_opencl = failure("opencl")
    if no_opencl is None:
        return "opencl"
    raise DeviceError(
        f"device={device!r}, but no GPU learner of LightGBM runs here. For its OpenCL learner, which the package from the index has, "
        "install an OpenCL driver (the GPU vendor's, or Debian's `pocl-opencl-icd`, which runs on the CPU); for its CUDA learner, "
        "build LightGBM with -DUSE_CUDA=ON; or use device='cpu' or booster='xgboost'.\n"
        f"CUDA learner: {no_cuda}\nOpenCL learner: {no_opencl}"
    )


@functools.cache
def failure(device: str) -> str | None:
    """Why LightGBM cannot train on ``cuda`` or ``opencl`` here, None where it can."""
    # A process of its own: a broken driver may abort, and LightGBM writes its errors to the terminal.
    try:
        probe = subprocess.run(
            [sys.executable, "-c", PROBE, LEARNERS[device]],
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the probe failed: {error}"
    if probe.returncode == 0:
        return None
    reasons = [line for line in probe.stderr.splitlines() if line.startswith("LightGBM: ")]
    return reasons[-1].removeprefix("LightGBM: ") if reasons else f"the probe ended with exit status {probe.returncode}"
