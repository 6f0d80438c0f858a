"""The command ``train``: options over a recipe, a progress bar, a summary. Torch is imported only when it runs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress as BarGroup

from actionparty.config import MODEL_PRESETS, ModelConfig, TrainConfig, from_json, model_preset
from actionparty.errors import DatasetError, InvalidInputError, unknown_name
from actionparty.interfaces import console
from actionparty.interfaces.commands_data import Json

if TYPE_CHECKING:
    from actionparty.data.clips import WorldClips
    from actionparty.training.log import Progress
    from actionparty.training.trainer import Trainer
    from actionparty.types import Episode

LOG_SECONDS = 30.0
"""How often a line is printed where nobody watches a progress bar."""
_SIZES = ", ".join(MODEL_PRESETS)
_DEFAULTS = TrainConfig()


def train(
    datasets: Annotated[list[Path], typer.Argument(help="Folders of recorded datasets.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the run: weights, state, curves, recipe.", show_default=False)],
    size: Annotated[str | None, typer.Option(help=f"Model size: {_SIZES}. (default: small)")] = None,
    world: Annotated[list[str] | None, typer.Option(help="Only this world; may be given several times.")] = None,
    frames: Annotated[int | None, typer.Option(help=f"Frames to learn from. (default: {_DEFAULTS.frames:,})")] = None,
    batch: Annotated[int | None, typer.Option(help=f"Frames in one batch. (default: {_DEFAULTS.batch})")] = None,
    batch_tokens: Annotated[
        int | None, typer.Option(help="Most cells and subjects in one batch: fewer frames of large worlds.")
    ] = None,
    worlds_per_step: Annotated[
        int | None,
        typer.Option(help="Batches, each of one world, in one step; a multiple of the processes. (default: 1)"),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help=f"Highest rate. (default: {_DEFAULTS.learning_rate})")
    ] = None,
    unroll: Annotated[
        float | None, typer.Option(help=f"Share of batches on the model's own output. (default: {_DEFAULTS.unroll})")
    ] = None,
    bf16: Annotated[str | None, typer.Option(help="Mixed precision: auto, on or off. (default: auto)")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random. (default: 0)")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="JSON recipe to start from, such as another run's run.json.")
    ] = None,
    init: Annotated[
        str | None, typer.Option(help="Start from the weights of this checkpoint; parts it lacks start fresh.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out exactly where it was saved.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train one model on all worlds of one or more datasets.

    Weights, curves (CSV and PNG) and the recipe go to the run folder. The
    state is saved every two minutes and on Ctrl-C; with --resume the run goes
    on as if it had never stopped, with the options it was started with.
    Episodes with seed labels from 1,000,000 on are for evaluation only and
    are left out.

    Examples:
      actionparty train datasets/arena --out runs/arena --size tiny
      actionparty train datasets/party --world coins --out runs/coins
      actionparty train datasets/party --out runs/party --resume
      actionparty train datasets/new --out runs/new --config runs/party/run.json

    PyTorch's torchrun starts it on several GPUs or machines (docs/scaling.md):
      torchrun --nproc-per-node 4 -m actionparty train datasets/party --out runs/party --worlds-per-step 4
    """
    from actionparty.checkpoints import find_checkpoint
    from actionparty.training.processes import joined
    from actionparty.training.run import start_run

    with joined() as processes:
        recipe = _read_recipe(config, out if resume else None)
        given = {
            "frames": frames,
            "batch": batch,
            "batch_tokens": batch_tokens,
            "worlds_per_step": worlds_per_step,
            "learning_rate": learning_rate,
            "unroll": unroll,
            "bf16": bf16,
            "seed": seed,
        }
        chosen: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        settings = replace(from_json(TrainConfig, recipe.get("train", {})), **chosen)
        trainer = start_run(
            out,
            _model_config(recipe, size),
            settings,
            training_clips(datasets, world),
            resume=resume,
            init=None if init is None else find_checkpoint(init),
            processes=processes,
        )
        summary = _run(trainer)
        if not processes.main:
            return
        if as_json:
            console.print_json(summary)
        else:
            console.print_table("", ("run", "frames", "frames/s", "loss"), [_row(summary)])


def _run(trainer: Trainer) -> dict[str, Any]:
    """Train to the end; the main process shows how far it is. Return what there is to tell."""
    worlds, processes = trainer.worlds, trainer.processes
    if processes.main:
        console.say(
            f"{trainer.network.parameters_count:,} parameters, {len(worlds)} worlds, "
            f"{sum(map(len, worlds.values())):,} frames, {trainer.device}, {'bf16' if trainer.bf16 else 'fp32'}, "
            f"{processes.count} {'process' if processes.count == 1 else 'processes'}"
        )
    first, began = trainer.frames, time.monotonic()
    with console.progress() if processes.main else BarGroup(disable=True) as bars:
        last = f"fitting the chances of {len(worlds)} worlds" if trainer.config.chance_rows else "saving"
        watcher = Watcher(bars, first, trainer.config.frames, last)
        try:
            trainer.run(watcher)
        except KeyboardInterrupt:
            if processes.main:
                console.say(
                    f"{saved_at(trainer.folder):,} frames are saved in {trainer.folder}; add --resume to go on."
                )
            raise
    seconds = time.monotonic() - began
    return {
        "out": str(trainer.folder),
        "worlds": sorted(worlds),
        "parameters": trainer.network.parameters_count,
        "processes": processes.count,
        "frames": trainer.frames,
        "seconds": round(seconds, 1),
        "frames_per_second": round((trainer.frames - first) / seconds, 1),
        "losses": {name: round(value, 6) for name, value in watcher.losses.items()},
    }


class Watcher:
    """Shows where a run stands: a progress bar on a terminal, a line every half minute elsewhere."""

    def __init__(self, bars: BarGroup, frames: int, total: int, last: str) -> None:
        self.losses: Mapping[str, float] = {}
        self._bars = bars
        self._last = last
        self._task = bars.add_task("frames", completed=frames, total=total)
        self._said = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Take note of ``progress``."""
        self.losses = progress.losses
        text = f"loss {progress.losses['loss']:.4f}, {progress.frames_per_second:,.0f} frames/s"
        self._bars.update(self._task, completed=progress.frames, description=text)
        if not console.ERR.is_terminal and time.monotonic() - self._said > LOG_SECONDS:
            self._said = time.monotonic()
            console.say(f"{progress.frames:,} of {progress.total:,} frames, {text}")
        if progress.frames >= progress.total:
            console.say(f"all {progress.frames:,} frames are learned; {self._last}")


def training_clips(datasets: Sequence[Path], worlds: Sequence[str] | None) -> dict[str, WorldClips]:
    """Return the clips of each world (or of ``worlds`` only) in all ``datasets``, without episodes for evaluation.

    A dataset may be a recording or a packed one; of packed worlds there can be one table each.

    Raises:
        UnknownNameError: a world that none of the datasets holds.
        DatasetError: a dataset that can't be read, or nothing but evaluation episodes.
    """
    from actionparty.data.clips import WorldClips
    from actionparty.data.dataset import load_episodes, open_dataset
    from actionparty.data.packed import is_packed, load_packed, packed_worlds
    from actionparty.data.recording import FIRST_EVALUATION_SEED

    known = {path: set(packed_worlds(path) if is_packed(path) else open_dataset(path).worlds) for path in datasets}
    everywhere = set[str]().union(*known.values())
    for name in worlds or ():
        if name not in everywhere:
            raise unknown_name("world in these datasets", name, everywhere)
    clips: dict[str, WorldClips] = {}
    found: dict[str, list[Episode]] = {}
    for path, names in known.items():
        wanted = sorted(names.intersection(worlds or names))
        if is_packed(path):
            for table in load_packed(path, wanted):
                if table.spec.name in clips or table.spec.name in found:
                    raise DatasetError(f"{path}: {table.spec.name} is also in another dataset; pack them together.")
                clips[table.spec.name] = WorldClips(table)
            continue
        if clash := [name for name in wanted if name in clips]:
            raise DatasetError(f"{path}: {clash[0]} is also in a packed dataset; pack them together.")
        for episode in load_episodes(path, wanted):
            if episode.seed < FIRST_EVALUATION_SEED:
                found.setdefault(episode.world.name, []).append(episode)
    if not found and not clips:
        raise DatasetError(
            f"{', '.join(map(str, datasets))}: no episodes to train on (seed labels under {FIRST_EVALUATION_SEED:,})."
        )
    return clips | {name: WorldClips(episodes) for name, episodes in found.items()}


def saved_at(run: Path) -> int:
    """Return the frames of the state that a run folder would resume from, 0 where there is none."""
    from actionparty.checkpoints import read_json

    state = run / "state.json"
    return int(read_json(state)["progress"]["frames"]) if state.exists() else 0


def _read_recipe(config: Path | None, resumed: Path | None) -> dict[str, Any]:
    """Return the recipe to start from: that of the run to resume, else that of ``config``, else an empty one."""
    from actionparty.checkpoints import read_json

    if resumed is not None and (resumed / "run.json").exists():
        if config is not None:
            raise InvalidInputError(f"{resumed} has a recipe already: leave out --config when resuming.")
        return read_json(resumed / "run.json")
    return read_json(config) if config is not None else {}


def _model_config(recipe: Mapping[str, Any], size: str | None) -> ModelConfig:
    if size is not None or "model" not in recipe:
        return model_preset(size or "small")
    return from_json(ModelConfig, recipe["model"])


def _row(summary: Mapping[str, Any]) -> tuple[object, ...]:
    return summary["out"], f"{summary['frames']:,}", round(summary["frames_per_second"]), summary["losses"].get("loss")
