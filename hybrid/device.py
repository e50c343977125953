"""Which device torch is to work on."""

from __future__ import annotations

import re

import torch

from hybrid.errors import DeviceError, ParameterError


def resolve_device(device: str) -> str:
    """Turn a device as a user writes it into one that torch has.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"} or "cuda:N"
        "auto" is "cuda" where torch finds a CUDA device, otherwise "cpu".

    Returns
    -------
    str
        "cpu", "cuda" (torch's current CUDA device) or "cuda:N".

    Raises
    ------
    ParameterError
        The device is spelled in no known way.
    DeviceError
        A CUDA device is asked for that torch does not have. There is no silent fall-back.

    Examples
    --------
    >>> resolve_device("cpu")
    'cpu'
    """
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", device) if isinstance(device, str) else None
    if match is None:
        raise ParameterError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N', not {device!r}")
    if device == "cpu":
        return device
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if torch.version.cuda is None:
        raise DeviceError(
            f"device={device!r}, but torch {torch.__version__} was built without CUDA: "
            "install a CUDA build of torch (https://pytorch.org/get-started/locally), or use device='cpu'"
        )
    if not torch.cuda.is_available():
        raise DeviceError(
            f"device={device!r}, but torch finds no CUDA device: check `nvidia-smi` and CUDA_VISIBLE_DEVICES, "
            "or use device='cpu'"
        )
    if match[1] is not None and int(match[1]) >= torch.cuda.device_count():
        raise DeviceError(
            f"device={device!r}, but torch finds {torch.cuda.device_count()} CUDA device(s), numbered from 0"
        )
    return device


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has units that multiply bfloat16: AVX-512 BF16 or AMX in a CPU, tensor cores from Ampere on in a GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.10 does not tell
    return any(capabilities.get(unit, False) for unit in ("avx512_bf16", "amx_bf16"))
