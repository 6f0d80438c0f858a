"""The demonstration: generate worlds from shipped weights, film them beside the real recording, measure them.

Beside that, many worlds at once in a mosaic. It needs neither a simulator nor a GPU: starts, actions and the real
frames come from the held-out recordings that ship with the weights. Where a checkpoint has none, its scenes are played
by a policy and only the generated world is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from actionparty.checkpoints import find_checkpoint, fingerprint
from actionparty.config import RolloutConfig, to_json
from actionparty.data.dataset import load_episodes, open_dataset
from actionparty.errors import InvalidInputError, MissingDependencyError
from actionparty.evaluation.evaluate import EvaluationSettings, evaluate
from actionparty.evaluation.export import HELD_OUT
from actionparty.evaluation.labels import TileLabels
from actionparty.evaluation.report import EvaluationReport
from actionparty.interfaces.console import check_new
from actionparty.interfaces.drawing import (
    Colour,
    Shot,
    contact_sheet,
    fit_scale,
    scene_picture,
    subject_colours,
)
from actionparty.interfaces.elsewhere import check_scenes
from actionparty.interfaces.mosaic import MOSAIC_STEPS, MOSAIC_WORLDS, Mosaic, film_mosaic
from actionparty.interfaces.video import write_gif, write_mp4
from actionparty.model.network import Network
from actionparty.rollout.generated_world import GeneratedWorld
from actionparty.rollout.rollout import BatchRollout
from actionparty.rollout.scenes import LABELS, load_scene, scene_paths, scene_worlds
from actionparty.training.checkpoint import load_network
from actionparty.types import Episode, Ints, Observation, Scene, WorldSpec
from actionparty.worlds.policies import policy

FIRST_CHOICE = "collaborative_cooking__crowded"
SEVEN = 7
"""Subjects of the second world that is shown."""
FILM_RATE = 6.0
"""Steps shown in a second; Melting Pot itself is played at 8."""
GIF_STEPS = 60
SHEET_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_MEASURED = EvaluationSettings(
    rollouts=8, horizon=100, steps_per_episode=16, probes_per_episode=8, rewarded_per_episode=8, batch=8
)
Echo = Callable[[str], None]


@dataclass
class Demo:
    """What a demonstration made: files by world, the metrics (where they could be measured), generated frames/s."""

    out: Path
    files: dict[str, list[Path]] = field(default_factory=dict)
    mosaic: Mosaic | None = None
    report: EvaluationReport | None = None
    frames_per_second: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Played:
    """A generated stretch of a world, and the recorded one with the same actions where there is one."""

    spec: WorldSpec
    generated: Sequence[Shot]
    real: Sequence[Shot]
    colours: Sequence[Colour]
    frames_per_second: float

    def pairs(self, step: int) -> list[tuple[str, Shot]]:
        """Return what to show side by side at ``step``, with titles."""
        shown = [("generated", self.generated[step])]
        return shown + ([("real simulator, same actions", self.real[step])] if self.real else [])


def run_demo(
    out: Path,
    weights: str | Path,
    worlds: Sequence[str] | None = None,
    steps: int = 150,
    seed: int = 0,
    echo: Echo = lambda line: None,
    measure: bool = True,
    mosaic: int = MOSAIC_WORLDS,
) -> Demo:
    """Film ``worlds`` (default: the crowded kitchen and a world with seven subjects) in ``out``, and measure them.

    For each world: an MP4, a GIF of its beginning, and a contact sheet. Also a mosaic of up to ``mosaic`` worlds of the
    checkpoint, unless that is 0, in at most ``MOSAIC_STEPS`` steps.

    Raises:
        InvalidInputError: ``out`` holds something already, ``steps`` is not positive, or ``mosaic`` is negative.
        CheckpointError: no such checkpoint.
        UnknownNameError: a world without scenes in it.
    """
    if steps < 1:
        raise InvalidInputError(f"a demonstration needs at least 1 step, not {steps}.")
    if mosaic < 0:
        raise InvalidInputError(f"a mosaic shows 0 worlds (none is made) or more, not {mosaic}.")
    check_new(out)
    folder = find_checkpoint(weights)
    names = list(dict.fromkeys(worlds or default_worlds(folder)))
    for name in names:
        check_scenes(folder, name, f"actionparty demo --checkpoint {{}} --world {name}")
        scene_paths(folder, name)  # raises, before anything is made, where the world is not known
    network = load_network(folder)
    out.mkdir(parents=True, exist_ok=True)
    demo = Demo(out)
    for name in names:
        played = play(network, folder, name, steps, seed)
        demo.frames_per_second[name] = played.frames_per_second
        count, speed = len(played.generated) - 1, played.frames_per_second
        echo(f"{name}: generated {count} steps of {played.spec.subjects} subjects at {speed:.0f} frames/s")
        demo.files[name] = film(played, out, echo)
    if mosaic:
        demo.mosaic = film_mosaic(network, folder, out, mosaic, min(steps, MOSAIC_STEPS), seed, FILM_RATE, echo)
    if measure:
        demo.report = _measured(network, folder, names, echo)
    return demo


def default_worlds(folder: Path) -> list[str]:
    """Return the crowded kitchen and the first world with seven subjects; else those with most subjects."""
    subjects = {name: load_scene(scene_paths(folder, name)[0]).world.subjects for name in scene_worlds(folder)}
    if not subjects:
        raise InvalidInputError(f"{folder}: this checkpoint has no scenes to start from; export it with scenes.")
    ranked = sorted(subjects, key=lambda name: (name != FIRST_CHOICE, subjects[name] != SEVEN, -subjects[name], name))
    return ranked[:2]


def recordings(folder: Path, world: str, at_most: int) -> list[Episode]:
    """Return up to ``at_most`` held-out recordings of ``world`` that ship with a checkpoint."""
    path = folder / HELD_OUT
    if not path.is_dir() or world not in open_dataset(path).worlds:
        return []
    return [episode for _, episode in zip(range(at_most), load_episodes(path, [world]), strict=False)]


def play(network: Network, folder: Path, world: str, steps: int, seed: int) -> Played:
    """Generate ``world`` with the actions of a held-out recording, to its end at most, or with those of a policy."""
    paths = scene_paths(folder, world)
    recorded = recordings(folder, world, seed % len(paths) + 1)
    if not recorded:
        scene = load_scene(paths[seed % len(paths)])
        return _generate(network, scene, seed, steps, _policy_actions(scene.world, seed), [])
    episode = recorded[-1]
    config = network.config
    start = min(config.context, len(episode) - 2)
    count = min(steps, len(episode) - 1 - start)
    rows = range(start, start + count + 1)
    frames = episode.frames(start, start + count + 1)
    real = [Shot(frame, episode.states[row], episode.actions[row]) for frame, row in zip(frames, rows, strict=True)]
    scene = episode.scene(start, config.context)
    return _generate(network, scene, seed, count, lambda step, _: episode.actions[start + step], real)


def _policy_actions(spec: WorldSpec, seed: int) -> Callable[[int, Observation], Ints]:
    acting = policy("mixed")
    acting.reset(spec, seed)
    return lambda step, observation: acting.act(observation)


def _generate(
    network: Network,
    scene: Scene,
    seed: int,
    steps: int,
    choose: Callable[[int, Observation], Ints],
    real: Sequence[Shot],
) -> Played:
    world = GeneratedWorld(BatchRollout(network), [scene])
    seen = world.reset(seed=seed, scene=scene)
    shots = [Shot(seen.frame, seen.states, scene.actions[-1])]
    began = time.monotonic()
    for step in range(1, steps + 1):
        actions = choose(step, seen)
        seen = world.step(actions)
        shots.append(Shot(seen.frame, seen.states, actions))
    speed = steps / max(time.monotonic() - began, 1e-9)
    return Played(scene.world, shots, real, subject_colours(scene.identities), speed)


def film(played: Played, out: Path, echo: Echo) -> list[Path]:
    """Write MP4 (where PyAV is installed), GIF and contact sheet of a world; return their paths."""
    stem = out / played.spec.name
    last = len(played.generated) - 1
    files = [stem.with_suffix(".mp4"), stem.with_suffix(".gif"), stem.with_suffix(".png")]
    try:
        write_mp4(files[0], _pictures(played, last, 660), FILM_RATE)
    except MissingDependencyError as error:
        echo(f"{error} (the GIF is there)")
        files.pop(0)
    write_gif(files[-2], list(_pictures(played, min(last, GIF_STEPS), 320)), FILM_RATE)
    _sheet(played).save(files[-1])
    return files


def _pictures(played: Played, last: int, width: int) -> Iterator[Image.Image]:
    scale = fit_scale(played.spec, width)
    for step in range(last + 1):
        yield scene_picture(played.pairs(step), played.spec, played.colours, scale, f"step {step}")


def _sheet(played: Played) -> Image.Image:
    last = len(played.generated) - 1
    steps = sorted({step for step in (*SHEET_STEPS, last) if 0 < step <= last})
    steps = [steps[i] for i in np.unique(np.rint(np.linspace(0, len(steps) - 1, 8)).astype(int))]
    rows = [("generated", [played.generated[s] for s in steps])]
    if played.real:
        rows.append(("real simulator", [played.real[s] for s in steps]))
    return contact_sheet(rows, steps, played.spec, played.colours, fit_scale(played.spec, 520))


def _measured(network: Network, folder: Path, worlds: Sequence[str], echo: Echo) -> EvaluationReport | None:
    """Return the metrics of the worlds that have recordings and labels, measured briefly."""
    episodes = {name: recordings(folder, name, _MEASURED.rollouts) for name in worlds}
    paths = {name: folder / LABELS / f"{name}.npz" for name in worlds}
    ready = [name for name in worlds if episodes[name] and paths[name].exists()]
    if not ready:
        echo("no metrics: this checkpoint has no held-out recordings or no tile labels of these worlds.")
        return None
    config, sampling = network.config, RolloutConfig()
    settings = EvaluationSettings(**{**vars(_MEASURED), "context": config.context})
    echo(f"measuring: {settings.rollouts} rollouts of {settings.horizon} steps in each world")
    return evaluate(
        lambda spec: BatchRollout(network, sampling),
        {name: episodes[name] for name in ready},
        {name: TileLabels.load(paths[name]) for name in ready},
        settings,
        checkpoint=fingerprint(folder),
        model_settings=to_json(sampling),
    )
