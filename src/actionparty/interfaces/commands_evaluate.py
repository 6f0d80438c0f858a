"""The command ``evaluate``: brings checkpoint, held-out recordings and metrics together, and shows the report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actionparty.config import RolloutConfig, to_json
from actionparty.errors import (
    CheckpointError,
    DatasetError,
    InvalidInputError,
    MissingDependencyError,
    UnknownNameError,
    unknown_name,
)
from actionparty.interfaces import console
from actionparty.interfaces.commands_data import Json, Ray, Seed
from actionparty.interfaces.commands_record import record_with_bars
from actionparty.interfaces.engines import EngineOption
from actionparty.types import Episode, WorldSpec

if TYPE_CHECKING:
    from actionparty.evaluation.evaluate import EvaluationSettings
    from actionparty.evaluation.labels import TileLabels
    from actionparty.evaluation.parts import Measure
    from actionparty.evaluation.report import EvaluationReport
    from actionparty.evaluation.rollouts import Perceptual
    from actionparty.rollout.rollout import BatchRollout

HELD_OUT = Path("datasets/held-out")
"""Where held-out episodes are kept that the command records itself."""
HELD_OUT_ROWS = 1000
"""Rows of each at least: short ones of a world that is slow to reset begin in mid-game, where a subject's picture (its
identity) may show what it carries."""
SHIPPED = "starter"
"""Shipped weights whose held-out episodes serve where there is no simulator."""
SHOWN = (
    "ma1",
    "ma1_moving",
    "sa1",
    "ma",
    "sp_mean",
    "ea",
    "changed_tile",
    "isolation",
    "swap",
    "reward_ap",
    "detector",
)
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
    engine: EngineOption = _DEFAULTS.engine,
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
    deterministic: Annotated[
        list[str] | None,
        typer.Option(metavar="WORLD", help="Without chance: count the steps in sync; may be given several times."),
    ] = None,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Measure how well every subject obeys, and for how long.

    The yardstick is the real simulator: held-out episodes (seed labels from
    1,000,000 on, which no training uses). Shipped weights bring some along.
    For others they are recorded into datasets/held-out and kept, unless --data
    names a dataset of your own; without Melting Pot, shipped ones are taken.

    With --out every finished part is kept: after an interruption give the same
    command again. Two such folders are compared by: actionparty compare A B

    Examples:
      actionparty evaluate runs/party
      actionparty evaluate runs/party --world coins --horizon 1000 --out outputs/report
      actionparty evaluate runs/party --data datasets/test --json
      actionparty evaluate runs/party --lpips lpips.pt --fvd i3d.pt
      actionparty evaluate runs/party --out outputs/report --ray auto
    """
    from actionparty.checkpoints import find_checkpoint, fingerprint
    from actionparty.engines.choice import choose_by_opening
    from actionparty.evaluation.evaluate import EvaluationSettings
    from actionparty.evaluation.evaluate import evaluate as measure
    from actionparty.evaluation.folder import check_usable
    from actionparty.rollout.rollout import BatchRollout
    from actionparty.training.checkpoint import load_network

    if out is not None:
        check_usable(out)
    with _measuring(ray) as measure_parts:  # first, so that a cluster that isn't there is said before any work
        folder = find_checkpoint(checkpoint)
        perceptual, given = _perceptual(lpips, fvd)
        network = load_network(folder)
        worlds = _wanted(folder, network.config.worlds, world)
        settings = EvaluationSettings(
            *(rollouts, horizon),
            batch=batch,
            seed=seed,
            context=network.config.context,
            deterministic=_chanceless(deterministic, worlds),
        )
        opened = choose_by_opening(engine, None, [network])  # once for all parts: the report names it
        sampling = RolloutConfig(update_steps=update_steps, render_steps=render_steps, snap=snap, engine=opened)
        sources = _sources(folder, worlds, data, settings)
        episodes = {name: _episodes(sources[name], name, settings) for name in worlds}
        labels = {name: _labels(folder, name, recorded) for name, recorded in episodes.items()}
        labelled_here = [name for name in worlds if not _labels_path(folder, name).exists()]

        def make(spec: WorldSpec) -> BatchRollout:
            return BatchRollout(network, sampling)

        with console.progress() as bars, _kept_in(out):
            tasks = {name: bars.add_task(name, total=None) for name in episodes}
            report = measure(
                make,
                episodes,
                labels,
                settings,
                checkpoint=fingerprint(folder),
                name=checkpoint,
                data=str(data or ""),
                labelled_here=labelled_here,
                model_settings={**to_json(sampling), **given},
                perceptual=perceptual,
                out=out,
                progress=lambda name, done, total: bars.update(tasks[name], completed=done, total=total),
                measure=measure_parts,
            )
    if as_json:
        console.print_json(report.to_json())
    else:
        show_report(report, out)


@contextmanager
def _measuring(ray: str | None) -> Iterator[Measure]:
    """Yield what measures the parts: this process, or the Ray cluster ``ray``."""
    from actionparty.data.ray_crew import cluster
    from actionparty.evaluation.parts import measure_here
    from actionparty.evaluation.ray_parts import measure_on_ray

    if ray is None:
        yield measure_here
        return
    with cluster(ray):
        yield measure_on_ray


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
    from actionparty.interfaces.elsewhere import lacking

    if not known:
        raise CheckpointError(f"{folder}: does not say which worlds it was trained on; its config.json is incomplete.")
    for name in worlds or ():
        if name not in known:
            raise lacking(folder, name, known, f"actionparty evaluate {{}} --world {name}")
    return list(dict.fromkeys(worlds or known))


def _chanceless(named: Sequence[str] | None, worlds: Sequence[str]) -> tuple[str, ...]:
    for name in named or ():
        if name not in worlds:
            raise unknown_name("world of this evaluation (--deterministic)", name, worlds)
    return tuple(dict.fromkeys(named or ()))


def _sources(folder: Path, worlds: Sequence[str], data: Path | None, settings: EvaluationSettings) -> dict[str, Path]:
    """Return the dataset of held-out episodes of each world: the user's, the one beside the weights, ours, or shipped.

    Ours is recorded where it is missing and the simulator is there.

    Raises:
        MissingDependencyError: a world that has no episodes anywhere, and no simulator.
        DatasetError: a world that could not be recorded, with the reason.
    """
    from actionparty.evaluation.export import HELD_OUT as BESIDE_WEIGHTS

    if data is not None:
        return dict.fromkeys(worlds, data)
    found = {name: folder / BESIDE_WEIGHTS for name in worlds if _holds(folder / BESIDE_WEIGHTS, name)}
    missing = [name for name in worlds if name not in found]
    ours = [name for name in missing if _can_be_made(name)]
    if ours:
        _record(ours, settings)
    return found | {name: HELD_OUT if name in ours else _without_simulator(name) for name in missing}


def _holds(dataset: Path, world: str) -> bool:
    from actionparty.data.dataset import open_dataset

    return dataset.is_dir() and world in open_dataset(dataset).worlds


def _can_be_made(world: str) -> bool:
    from actionparty.worlds.catalogue import check_available

    try:
        check_available(world)
    except MissingDependencyError:
        return False
    except UnknownNameError as error:
        said = f"{world} is a world of your own: give held-out episodes of it as --data (docs/your-own-world.md)."
        raise InvalidInputError(said) from error
    return True


def _record(worlds: Sequence[str], settings: EvaluationSettings) -> None:
    from actionparty.data.recording import FIRST_EVALUATION_SEED

    rows = max(settings.horizon + 3, HELD_OUT_ROWS)
    console.say(
        f"held-out episodes: {HELD_OUT}, {settings.rollouts} of {rows} rows of each world, recorded where missing"
    )
    summary = record_with_bars(worlds, settings.rollouts * rows, FIRST_EVALUATION_SEED, HELD_OUT, shard_steps=rows)
    if reasons := "; ".join(f"{name}: {reason}" for name, reason in summary.skipped.items()):
        raise DatasetError(f"{HELD_OUT}: held-out episodes could not be recorded. {reasons}")


def _without_simulator(world: str) -> Path:
    """Return the episodes of a world that can't be recorded here: those recorded before, else those that ship."""
    from actionparty.checkpoints import find_checkpoint
    from actionparty.evaluation.export import HELD_OUT as BESIDE_WEIGHTS
    from actionparty.worlds.catalogue import check_available

    if _holds(HELD_OUT, world):
        return HELD_OUT
    try:
        shipped = find_checkpoint(SHIPPED) / BESIDE_WEIGHTS
    except CheckpointError:
        shipped = HELD_OUT
    if not _holds(shipped, world):
        check_available(world)
    console.say(f"{world}: the held-out episodes that ship with the weights {SHIPPED}; its simulator is not installed.")
    return shipped


def _episodes(path: Path, world: str, settings: EvaluationSettings) -> list[Episode]:
    """Return at most as many held-out episodes as rollouts, those as long as a rollout rather than shorter ones."""
    from actionparty.data.dataset import load_episodes
    from actionparty.data.recording import FIRST_EVALUATION_SEED
    from actionparty.evaluation.evaluate import LEAST_ROWS
    from actionparty.evaluation.parts import FIRST_ROLLOUT_ROW

    at_most, needed = settings.rollouts, FIRST_ROLLOUT_ROW + settings.horizon + 1
    long: list[tuple[int, Episode]] = []
    short: list[tuple[int, Episode]] = []
    for place, episode in enumerate(load_episodes(path, [world])):
        if episode.seed >= FIRST_EVALUATION_SEED and len(episode) >= LEAST_ROWS:
            kind = long if len(episode) >= needed else short
            kind += [(place, episode)] if len(kind) < at_most else []
            if len(long) == at_most:
                break
    if not long and not short:
        again = f"actionparty record {world} --seed {FIRST_EVALUATION_SEED} --out {path}"
        raise DatasetError(f"{path}: no held-out episode of {world} with {LEAST_ROWS} rows; make some with: {again}")
    if added := short[: at_most - len(long)]:
        console.say(
            f"{world}: {len(added)} of {len(long) + len(added)} held-out episodes are shorter than the {needed} rows "
            f"that {settings.horizon} steps need; what needs the simulator ends where they do."
        )
    return [episode for _, episode in sorted([*long, *added], key=itemgetter(0))]


def _labels_path(folder: Path, world: str) -> Path:
    from actionparty.rollout.scenes import LABELS

    return folder / LABELS / f"{world}.npz"


def _labels(folder: Path, world: str, episodes: Iterable[Episode]) -> TileLabels:
    """Return the labelled tiles that ship with a checkpoint, else those that the held-out recordings show."""
    from actionparty.evaluation.labels import TileLabels, build_labels

    path = _labels_path(folder, world)
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
