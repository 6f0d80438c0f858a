"""LPIPS and FVD by networks that the user has as TorchScript files: nothing is ever downloaded.

LPIPS: a module that takes two batches of pictures (B, 3, H, W), floats from -1 to 1, and returns a distance for each.
FVD: an I3D that takes clips (B, 3, 16, 224, 224), floats from -1 to 1, and returns features (B, D). Torch is imported
when a file is loaded.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from actionparty.errors import InvalidInputError

if TYPE_CHECKING:
    import torch

CLIP = 16
"""Frames of a clip whose features are compared."""
SIDE = 224
"""Pixels that clips are scaled to, as the I3D was trained."""
_CLIPS_AT_ONCE = 4


class PictureDistance:
    """LPIPS, by the user's TorchScript file."""

    def __init__(self, path: Path) -> None:
        self.path, self._module = path, _load(path, "--lpips")

    def __reduce__(self) -> tuple[type[PictureDistance], tuple[Path]]:
        """Travel as a path: TorchScript is not for pickling, and a node of a cluster reads its own copy."""
        return PictureDistance, (self.path,)

    def __call__(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the distance (B,) of pictures (B, H, W, 3)."""
        found = _run(self._module, self.path, _pictures(a), _pictures(b))
        if found.numel() != len(a):
            raise InvalidInputError(f"{self.path}: answered {tuple(found.shape)} for {len(a)} pairs of pictures.")
        return np.asarray(found.reshape(-1).double().numpy())


class ClipFeatures:
    """The features of clips for FVD, by the user's TorchScript file."""

    def __init__(self, path: Path) -> None:
        self.path, self._module = path, _load(path, "--fvd")

    def __reduce__(self) -> tuple[type[ClipFeatures], tuple[Path]]:
        """Travel as a path, as ``PictureDistance`` does."""
        return ClipFeatures, (self.path,)

    def __call__(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return features (B, D) of clips (B, ``CLIP``, H, W, 3)."""
        parts = [self._some(clips[i : i + _CLIPS_AT_ONCE]) for i in range(0, len(clips), _CLIPS_AT_ONCE)]
        return np.concatenate(parts)

    def _some(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        from torch.nn.functional import interpolate

        b, t = clips.shape[:2]
        frames = _pictures(clips.reshape(b * t, *clips.shape[2:]))
        scaled = interpolate(frames, (SIDE, SIDE), mode="bilinear", align_corners=False)
        found = _run(self._module, self.path, scaled.reshape(b, t, 3, SIDE, SIDE).transpose(1, 2))
        if found.ndim != 2 or len(found) != b:
            raise InvalidInputError(f"{self.path}: answered {tuple(found.shape)} for {b} clips, not (B, D) features.")
        return np.asarray(found.float().numpy())


def _pictures(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """(B, H, W, 3) pixels -> (B, 3, H, W) in [-1, 1]."""
    import torch

    from actionparty.data.clips import to_unit

    return to_unit(torch.from_numpy(pixels.copy())).permute(0, 3, 1, 2)


def _load(path: Path, option: str) -> torch.jit.ScriptModule:
    import torch

    if not path.is_file():
        raise InvalidInputError(f"{option} {path}: no such file. It is never downloaded; leave the option out without.")
    try:
        with warnings.catch_warnings():  # torch would rather have users export again, but theirs are TorchScript
            warnings.simplefilter("ignore", DeprecationWarning)
            module: torch.jit.ScriptModule = torch.jit.load(str(path), "cpu")  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise InvalidInputError(f"{option} {path}: no TorchScript file ({_first_line(error)}).") from error
    return module.eval()


def _run(module: torch.jit.ScriptModule, path: Path, *inputs: torch.Tensor) -> torch.Tensor:
    import torch

    shapes = " and ".join(str(tuple(x.shape)) for x in inputs)
    try:
        with torch.inference_mode():
            found = module(*inputs)
    except RuntimeError as error:
        raise InvalidInputError(f"{path}: does not take inputs of shape {shapes} ({_first_line(error)}).") from error
    if not isinstance(found, torch.Tensor):
        raise InvalidInputError(f"{path}: answered a {type(found).__name__}, not a tensor.")
    return found


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def file_digest(path: Path | None) -> str | None:
    """Return the SHA-256 of a weights file for the report's settings; None where there is none."""
    return None if path is None or not path.is_file() else hashlib.sha256(path.read_bytes()).hexdigest()


def frechet_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return the squared Frechet distance of the Gaussians with the means and covariances of features (n, D).

    |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) with sample covariances (Heusel et al. 2017), never below 0.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    shift = float(((x.mean(0) - y.mean(0)) ** 2).sum())
    first, second = (np.atleast_2d(np.cov(v, rowvar=False)) for v in (x, y))
    root = _root(first)
    mixed = np.linalg.eigvalsh(root @ second @ root)
    return max(0.0, shift + float(np.trace(first) + np.trace(second) - 2 * np.sqrt(np.maximum(mixed, 0)).sum()))


def _root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)
