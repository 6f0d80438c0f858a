"""The command ``evaluate``: brings checkpoint, held-out recordings and metrics together, and shows the report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actionparty.config import RolloutConfig, to_json
from actionparty.errors import CheckpointError, DatasetError, unknown_name
from actionparty.interfaces import console
from actionparty.interfaces.commands_data import Json, Seed, record_with_bars
from actionparty.types import Episode, WorldSpec

if TYPE_CHECKING:
    from actionparty.evaluation.evaluate import EvaluationSettings
    from actionparty.evaluation.labels import TileLabels
    from actionparty.evaluation.report import EvaluationReport
    from actionparty.evaluation.rollouts import Perceptual
    from actionparty.rollout.rollout import BatchRollout

HELD_OUT = Path("datasets/held-out")
"""Where held-out episodes are kept that the command records itself."""
HELD_OUT_ROWS = 1000
"""Rows of each at least: short ones of a world that is slow to reset begin in mid-game, where a subject's picture (its
identity) may show what it carries."""
SHOWN = ("ma1", "ma1_moving", "sa1", "ma", "sp_mean", "ea", "changed_tile", "isolation", "swap", "detector")
_DEFAULTS = RolloutConfig()


def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="Run folder, checkpoint folder, or name of shipped weights.")],
    world: Annotated[list[str] | None, typer.Option(help="Only this world; may be given several times.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Dataset of held-out episodes. (default: shipped or recorded)", show_default=False),
    ] = None,
    rollouts: Annotated[int, typer.Option(help="Rollouts of each world.")] = 20,
    horizon: Annotated[int, typer.Option(help="Steps of each rollout.")] = 200,
    batch: Annotated[int, typer.Option(help="Rollouts generated together.")] = 20,
    seed: Seed = 0,
    update_steps: Annotated[int, typer.Option(help="Steps of the flow over states.")] = _DEFAULTS.update_steps,
    render_steps: Annotated[int, typer.Option(help="Steps of the flow over pixels.")] = _DEFAULTS.render_steps,
    snap: Annotated[bool, typer.Option("--snap", help="Replace every drawn tile by the nearest known one.")] = False,
    lpips: Annotated[
        Path | None, typer.Option(help="Your own LPIPS network, a TorchScript file.", show_default=False)
    ] = None,
    fvd: Annotated[
        Path | None, typer.Option(help="Your own I3D network for FVD, a TorchScript file.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the report (HTML, JSON, Markdown) and its records.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure how well every subject obeys, and for how long.

    The yardstick is the real simulator: held-out episodes (seed labels from
    1,000,000 on, which no training uses). Shipped weights bring some along.
    For others they are recorded into datasets/held-out and kept, unless --data
    names a dataset of your own.

    With --out every finished part is kept: after an interruption give the same
    command again. Two such folders are compared by: actionparty compare A B

    Examples:
      actionparty evaluate runs/party
      actionparty evaluate runs/party --world coins --horizon 1000 --out outputs/report
      actionparty evaluate runs/party --data datasets/test --json
      actionparty evaluate runs/party --lpips lpips.pt --fvd i3d.pt
    """
    from actionparty.checkpoints import find_checkpoint, fingerprint
    from actionparty.evaluation.evaluate import EvaluationSettings
    from actionparty.evaluation.evaluate import evaluate as measure
    from actionparty.evaluation.folder import check_usable
    from actionparty.rollout.rollout import BatchRollout
    from actionparty.training.checkpoint import load_network

    if out is not None:
        check_usable(out)
    folder = find_checkpoint(checkpoint)
    perceptual, given = _perceptual(lpips, fvd)
    network = load_network(folder)
    settings = EvaluationSettings(rollouts, horizon, batch=batch, seed=seed, context=network.config.context)
    sampling = RolloutConfig(update_steps=update_steps, render_steps=render_steps, snap=snap)
    worlds = _wanted(folder, network.config.worlds, world)
    source = data or _held_out(folder, worlds, settings)
    episodes = {name: _episodes(source, name, rollouts) for name in worlds}
    labels = {name: _labels(folder, name, recorded) for name, recorded in episodes.items()}

    def make(spec: WorldSpec) -> BatchRollout:
        return BatchRollout(network, sampling, labels[spec.name].tiles if snap else None)

    with console.progress() as bars, _kept_in(out):
        tasks = {name: bars.add_task(name, total=None) for name in episodes}
        report = measure(
            make,
            episodes,
            labels,
            settings,
            checkpoint=fingerprint(folder),
            name=checkpoint,
            model_settings={**to_json(sampling), **given},
            perceptual=perceptual,
            out=out,
            progress=lambda name, done, total: bars.update(tasks[name], completed=done, total=total),
        )
    if as_json:
        console.print_json(report.to_json())
    else:
        show_report(report, out)


@contextmanager
def _kept_in(out: Path | None) -> Iterator[None]:
    """Say how to go on where a user stops an evaluation whose parts are kept."""
    try:
        yield
    except KeyboardInterrupt:
        if out is not None:
            console.say(f"finished parts are in {out}; give the same command again to go on.")
        raise


def _perceptual(lpips: Path | None, fvd: Path | None) -> tuple[Perceptual, dict[str, str | None]]:
    """Return what judges frames by the user's networks, and their SHA-256 for the report's settings."""
    from actionparty.evaluation.perceptual import ClipFeatures, PictureDistance, file_digest
    from actionparty.evaluation.rollouts import Perceptual

    judge = Perceptual(PictureDistance(lpips) if lpips else None, ClipFeatures(fvd) if fvd else None)
    return judge, {"lpips": file_digest(lpips), "fvd": file_digest(fvd)}


def _wanted(folder: Path, known: Sequence[str], worlds: Sequence[str] | None) -> list[str]:
    if not known:
        raise CheckpointError(f"{folder}: does not say which worlds it was trained on; its config.json is incomplete.")
    for name in worlds or ():
        if name not in known:
            raise unknown_name(f"world of {folder}", name, known)
    return list(dict.fromkeys(worlds or known))


def _held_out(folder: Path, worlds: Sequence[str], settings: EvaluationSettings) -> Path:
    """Return the dataset of held-out episodes: the one beside the weights, else ours, recorded where it is missing."""
    from actionparty.data.recording import FIRST_EVALUATION_SEED
    from actionparty.evaluation.export import HELD_OUT as BESIDE_WEIGHTS

    if (folder / BESIDE_WEIGHTS).is_dir():
        return folder / BESIDE_WEIGHTS
    rows = max(settings.horizon + 3, HELD_OUT_ROWS)
    console.say(
        f"held-out episodes: {HELD_OUT}, {settings.rollouts} of {rows} rows of each world, recorded where missing"
    )
    record_with_bars(worlds, settings.rollouts * rows, FIRST_EVALUATION_SEED, HELD_OUT, shard_steps=rows)
    return HELD_OUT


def _episodes(path: Path, world: str, at_most: int) -> list[Episode]:
    from actionparty.data.dataset import load_episodes
    from actionparty.data.recording import FIRST_EVALUATION_SEED

    held_out = (episode for episode in load_episodes(path, [world]) if episode.seed >= FIRST_EVALUATION_SEED)
    found = list(islice(held_out, at_most))
    if not found:
        again = f"actionparty record {world} --seed {FIRST_EVALUATION_SEED} --out {path}"
        raise DatasetError(f"{path}: no held-out episode of {world}; make some with: {again}")
    return found


def _labels(folder: Path, world: str, episodes: Iterable[Episode]) -> TileLabels:
    """Return the labelled tiles that ship with a checkpoint, else those that the held-out recordings show."""
    from actionparty.evaluation.labels import TileLabels, build_labels
    from actionparty.rollout.scenes import LABELS

    path = folder / LABELS / f"{world}.npz"
    return TileLabels.load(path) if path.exists() else build_labels(episodes)


def show_report(report: EvaluationReport, out: Path | None) -> None:
    """Print a report: a table of what matters most, and beneath it what to bear in mind; ``out`` holds all of it."""
    from actionparty.evaluation.folder import PAGE
    from actionparty.evaluation.report import COLUMNS, PAPER

    found = report.to_json()
    rows: Mapping[str, Mapping[str, Any]] = {**found["worlds"], "mean": found["mean"]}
    keys = [key for key in SHOWN if any(key in row for row in rows.values())]
    steps = sorted({int(t) for row in rows.values() for t in row.get("sp", {})})
    headings = ["world", "subjects", *(COLUMNS[key] for key in keys), *(f"SP@{t}" for t in steps)]
    console.print_table("", headings, (_row(name, row, keys, steps) for name, row in rows.items()))
    for name, row in found["worlds"].items():
        for note in row["notes"]:
            console.tell(f"{name}: {note}")
    console.tell(f"The paper, on other episodes: MA {PAPER['ma']}, SP {PAPER['sp_mean']}.")
    if left_out := report.left_out():
        console.tell(left_out)
    console.tell(f"settings: {json.dumps(found['settings'])}")
    console.tell(
        f"checkpoint {report.checkpoint[:12]}" + (f"; intervals, curves and films: {out / PAGE}" if out else "")
    )


def _row(name: str, row: Mapping[str, Any], keys: Sequence[str], steps: Sequence[int]) -> list[object]:
    preserved = [row.get("sp", {}).get(str(t)) for t in steps]
    return [name, row.get("subjects"), *(row.get(key) for key in keys), *preserved]
