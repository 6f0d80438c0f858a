"""Devices by name, as people give them."""

from __future__ import annotations

import torch

from actionparty.errors import InvalidInputError


def usable_device(name: str) -> torch.device:
    """Return the device called ``name`` (cpu, cuda, cuda:1...) after making a tensor there.

    Raises:
        InvalidInputError: PyTorch doesn't know it, or can't use it here.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # what torch raises for a device that it doesn't know or have
        raise InvalidInputError(f"device {name!r}: no such device can be used here ({error}).") from error
    return device
