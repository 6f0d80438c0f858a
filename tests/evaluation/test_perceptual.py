from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.evaluation import toy
from torch import Tensor, nn

from actionparty.errors import InvalidInputError
from actionparty.evaluation.evaluate import EvaluationSettings, evaluate
from actionparty.evaluation.labels import build_labels
from actionparty.evaluation.perceptual import CLIP, ClipFeatures, PictureDistance, file_digest, frechet_distance
from actionparty.evaluation.rollouts import Perceptual


class MeanDifference(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().mean((1, 2, 3), keepdim=True)


class MeanColour(nn.Module):
    """Features (B, 4): the mean of each colour over time and space, and the number of frames."""

    def forward(self, clips: Tensor) -> Tensor:
        frames = torch.full((len(clips), 1), float(clips.shape[2]))
        return torch.cat([clips.mean((2, 3, 4)), frames], 1)


class Scalar(nn.Module):
    def forward(self, a: Tensor) -> Tensor:
        return a.mean()


def scripted(module: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():  # TorchScript is what users have; torch would rather have torch.export
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))  # type: ignore[no-untyped-call]
    return path


def test_lpips_gets_pictures_from_minus_one_to_one(tmp_path: Path) -> None:
    distance = PictureDistance(scripted(MeanDifference(), tmp_path / "lpips.pt"))
    a = np.zeros((3, 16, 24, 3), np.uint8)
    b = np.stack([np.full((16, 24, 3), level, np.uint8) for level in (0, 51, 255)])
    assert distance(a, b) == pytest.approx([0, 0.4, 2])


def test_fvd_gets_clips_scaled_to_what_an_i3d_takes(tmp_path: Path) -> None:
    features = ClipFeatures(scripted(MeanColour(), tmp_path / "i3d.pt"))
    clips = np.zeros((6, CLIP, 16, 24, 3), np.uint8)
    clips[1, ..., 0] = 255
    found = features(clips)
    assert found.dtype == np.float32
    assert found[0] == pytest.approx([-1, -1, -1, CLIP])
    assert found[1] == pytest.approx([1, -1, -1, CLIP])


def test_the_frechet_distance_of_gaussians_in_closed_form() -> None:
    """Samples with exactly the wanted mean and covariance: (m - m')^2 + sum (s - s')^2 where covariances commute."""
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(200, 3))
    white = (raw - raw.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False))).T
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    one, two = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.5, 3.0])
    a, b = (white * one) @ turn, (white * two) @ turn + np.array([1.0, 0.0, -2.0])
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(5 + ((one - two) ** 2).sum())
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))
    assert frechet_distance(white[:, :1], 3 * white[:, :1] + 1) == pytest.approx(1 + 4)
    few = rng.normal(size=(4, 50))  # fewer samples than features: singular, but no NaN
    assert 0 < frechet_distance(few, few + 1) == pytest.approx(50)


def test_unusable_files_are_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="never downloaded"):
        PictureDistance(tmp_path / "missing.pt")
    (tmp_path / "text.pt").write_text("no network")
    with pytest.raises(InvalidInputError, match=r"--fvd .*no TorchScript"):
        ClipFeatures(tmp_path / "text.pt")
    frames = np.zeros((2, 16, 16, 3), np.uint8)
    with pytest.raises(InvalidInputError, match="does not take inputs of shape"):
        PictureDistance(scripted(MeanColour(), tmp_path / "i3d.pt"))(frames, frames)
    with pytest.raises(InvalidInputError, match=r"not \(B, D\) features"):
        ClipFeatures(scripted(Scalar(), tmp_path / "scalar.pt"))(np.zeros((2, CLIP, 16, 16, 3), np.uint8))


def test_the_report_has_them_where_the_user_has_the_weights_and_says_so_where_not(tmp_path: Path) -> None:
    held_out = {"toy": [toy.record(1_000_000 + k, 40) for k in range(3)]}
    labels = {"toy": build_labels([toy.record(seed, 300) for seed in range(3)])}
    settings = EvaluationSettings(3, 34, steps_per_episode=2, probes_per_episode=1, memory=4)
    lpips = scripted(MeanDifference(), tmp_path / "lpips.pt")
    own = Perceptual(PictureDistance(lpips), ClipFeatures(scripted(MeanColour(), tmp_path / "i3d.pt")))

    def report(world: toy.Perfect, perceptual: Perceptual | None, horizon: int = 34) -> tuple[dict[str, float], str]:
        chosen = replace(settings, horizon=horizon)
        found = evaluate(
            *(lambda spec: world, held_out, labels, chosen),
            checkpoint="0" * 64,
            model_settings={"fvd": "0" * 64} if perceptual else None,
            perceptual=perceptual,
        )
        return found.to_json()["worlds"]["toy"], found.markdown()

    perfect, text = report(toy.Perfect(), own)
    assert perfect["lpips"] == 0
    assert perfect["fvd"] == pytest.approx(0, abs=1e-9)
    assert "Left out" not in text
    assert "6 clips" in text
    wrong, _ = report(toy.Dressed([0, 1, -1, 3]), own)
    assert wrong["lpips"] > 0
    assert wrong["fvd"] > 1e-7
    left_out, text = report(toy.Perfect(), None)
    assert not {"lpips", "fvd"} & left_out.keys()
    assert "LPIPS (--lpips), FVD (--fvd)" in text
    short, text = report(toy.Perfect(), own, horizon=12)
    assert "fvd" not in short
    assert "too short: FVD" in text
    assert file_digest(lpips) != file_digest(None) is None
