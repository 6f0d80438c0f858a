"""The command ``rollout``: one generated episode from a scene, kept so that it can be watched, read and repeated."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from actionparty.config import AUTO, RolloutConfig, to_json
from actionparty.errors import InvalidInputError, MissingDependencyError
from actionparty.interfaces import console
from actionparty.interfaces.commands_data import Json, Seed
from actionparty.interfaces.engines import EngineOption
from actionparty.types import NO_ACTION, Episode, Ints, Observation, Scene, SubjectStates, World, WorldSpec

if TYPE_CHECKING:
    from actionparty.model.network import Network

DEFAULT_STEPS = 100
FILMSTRIP_FRAMES = 18
FILM_WIDTH = 640
FILM_FRAMES_PER_SECOND = 8.0
_DEFAULTS = RolloutConfig()
Choose = Callable[[int, Observation], Ints]
"""Decides the actions (N,) of step t from the observation before it."""


def rollout(
    out: Annotated[Path, typer.Option(help="New folder for the result.", show_default=False)],
    world: Annotated[str | None, typer.Argument(help="World to generate.", show_default=False)] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Run folder, or name of shipped weights. (default: shipped ones that know the world)"),
    ] = None,
    scene: Annotated[str, typer.Option(help="Where to start: a number, a name, or a scene file (.npz).")] = "0",
    data: Annotated[
        Path | None, typer.Option(help="Start from episode number --scene of this dataset instead.", show_default=False)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Frames to generate. (default: 100, or all --actions)")
    ] = None,
    seed: Seed = 0,
    policy: Annotated[str, typer.Option(help="Who acts: `random` (sticky), `seek` or `mixed`.")] = "mixed",
    actions: Annotated[
        Path | None, typer.Option(help="JSON file with one row of action names per step, instead.", show_default=False)
    ] = None,
    update_steps: Annotated[int, typer.Option(help="Steps of the flow over states.")] = _DEFAULTS.update_steps,
    render_steps: Annotated[int, typer.Option(help="Steps of the flow over pixels.")] = _DEFAULTS.render_steps,
    snap: Annotated[bool, typer.Option("--snap", help="Replace every drawn tile by the nearest known one.")] = False,
    engine: EngineOption = AUTO,
    replay: Annotated[
        Path | None, typer.Option(help="Generate again what was played (a replay file of `play`).", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Generate an episode of a world, without its simulator.

    The folder gets a film, a filmstrip, frames, states, actions and rewards
    (Parquet, as recorded episodes), the scene, and rollout.json, which says how
    to repeat it: the same scene, seed and actions give the same frames.

    Examples:
      actionparty rollout coins --out outputs/coins
      actionparty rollout arena --checkpoint runs/arena --data datasets/arena --out outputs/arena
      actionparty rollout coins --actions outputs/coins/rollout.json --out outputs/again
      actionparty rollout --replay coins.replay --out outputs/played
    """
    if replay is not None:
        _run_replay(replay, out, checkpoint, as_json)
        return
    if world is None:
        raise InvalidInputError("say which world to generate; `actionparty worlds` lists them.")
    from actionparty.checkpoints import find_checkpoint, fingerprint
    from actionparty.rollout.generated_world import GeneratedWorld
    from actionparty.rollout.rollout import BatchRollout
    from actionparty.rollout.scenes import load_scene, shipped_checkpoint
    from actionparty.training.checkpoint import load_network

    console.check_new(out)
    settings = RolloutConfig(update_steps=update_steps, render_steps=render_steps, snap=snap, engine=engine)
    folder = find_checkpoint(checkpoint if checkpoint is not None else shipped_checkpoint(world))
    network = load_network(folder)
    start = _scene_from_data(data, world, scene, network) if data else load_scene(_scene_file(folder, world, scene))
    if start.world.name != world:
        raise InvalidInputError(f"--scene {scene} is one of {start.world.name}, not of {world}.")
    rolling = BatchRollout(network, settings)
    generated = GeneratedWorld(rolling, [start])
    rows = read_actions(actions, start.world) if actions is not None else None
    choose = _ask(policy, start.world, seed) if rows is None else follow(rows)
    wanted = steps or (DEFAULT_STEPS if rows is None else len(rows))
    played = play(generated, start, choose, wanted, seed, policy if actions is None else "script")
    write_result(out, played, start)
    recipe = recipe_of(played, start, fingerprint(folder), seed, to_json(rolling.settings))
    (out / "rollout.json").write_text(json.dumps(recipe))
    _tell(out, recipe, as_json)


def _tell(out: Path, recipe: dict[str, Any], as_json: bool) -> None:
    if as_json:
        console.print_json({"out": str(out), **recipe})
        return
    what = f"{recipe['world']}, {recipe['subjects']} subjects, {recipe['frames']} frames"
    console.tell(f"{what}, {recipe['frames_per_second']:.0f} frames/s by {recipe['settings']['engine']} -> {out}")
    if recipe.get("ended"):
        console.tell("The episode ended here: the model predicts its end.")


def _run_replay(path: Path, out: Path, checkpoint: str | None, as_json: bool) -> None:
    from actionparty.interfaces.replaying import run_replay, tell_difference

    recipe, differs = run_replay(path, out, checkpoint)
    _tell(out, recipe, as_json)
    console.say(tell_difference(differs))
    if differs is not None:
        raise typer.Exit(console.NOT_ALL_WELL)


def recipe_of(played: Played, start: Scene, checkpoint: str, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what says how to repeat a rollout, and how it went."""
    return {
        "world": start.world.name,
        "subjects": start.world.subjects,
        "checkpoint": checkpoint,
        "scene": start.source,
        "seed": seed,
        "settings": settings,
        "frames": len(played.episode) - 1,
        "ended": bool(played.episode.ended),
        "frames_per_second": round(played.frames_per_second, 1),
        "reward": played.episode.rewards.sum(0).round(3).tolist(),
        "actions": [[start.world.actions[a] for a in row] for row in played.episode.actions[1:]],
    }


def write_result(out: Path, played: Played, start: Scene) -> None:
    """Write film, filmstrip, episode and scene into the new folder ``out``."""
    from actionparty.rollout.scenes import save_scene

    _write(out, played.episode)
    save_scene(out / "scene.npz", start)


@dataclass(frozen=True)
class Played:
    """An episode and how fast it was generated."""

    episode: Episode
    frames_per_second: float


def play(world: World, scene: Scene, choose: Choose, steps: int, seed: int, policy: str) -> Played:
    """Step ``world`` from ``scene`` up to ``steps`` times; the first row of the episode is the scene's last frame."""
    from actionparty.data.tiles import encode

    observations = [world.reset(seed=seed, scene=scene)]
    chosen = [np.full(scene.world.subjects, NO_ACTION, np.int64)]
    began = time.monotonic()
    with console.progress() as bars:
        for step in bars.track(range(steps), description=scene.world.name):
            chosen.append(choose(step, observations[-1]))
            observations.append(world.step(chosen[-1]))
            if observations[-1].ended:
                break
    speed = (len(observations) - 1) / (time.monotonic() - began)
    pictures = encode(np.stack([o.frame for o in observations]))
    episode = Episode(
        world=scene.world,
        seed=seed,
        tiles=pictures.tiles,
        grid=pictures.grid,
        states=SubjectStates.stack([o.states for o in observations]),
        actions=np.stack(chosen),
        rewards=np.stack([o.rewards for o in observations]),
        ended=observations[-1].ended,
        policy=policy,
        frames_raw=pictures.raw,
    )
    return Played(episode, speed)


def read_actions(path: Path, spec: WorldSpec) -> Ints:
    """Return the actions (T, N) of a JSON file: rows of names, or an object (a rollout.json) with them as ``actions``.

    Raises:
        InvalidInputError: not such a file, or a row without exactly one action per subject.
        UnknownNameError: an action that the world does not have; the nearest names are suggested.
    """
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise InvalidInputError(f"{path}: not a JSON file ({error}).") from error
    rows = content.get("actions") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) for row in rows):
        raise InvalidInputError(f"{path}: expected a list with one row of action names per step.")
    for step, row in enumerate(rows):
        if len(row) != spec.subjects:
            raise InvalidInputError(
                f"{path}: step {step} has {len(row)} actions, but {spec.name} has {spec.subjects} subjects."
            )
    return np.array([[spec.action_index(str(name)) for name in row] for row in rows], np.int64)


def _scene_file(folder: Path, world: str, name: str) -> Path:
    """Return the file of a scene; raises as ``find_scene``, naming weights that have the world where these lack it."""
    from actionparty.interfaces.elsewhere import check_scenes
    from actionparty.rollout.scenes import find_scene

    if not name.endswith(".npz"):
        check_scenes(folder, world, f"actionparty rollout {world} --checkpoint {{}}")
    return find_scene(folder, world, name)


def _scene_from_data(path: Path, world: str, number: str, network: Network) -> Scene:
    from actionparty.data.dataset import load_episodes

    if not number.isdigit():
        raise InvalidInputError(f"--scene {number}: with --data it is the number of an episode.")
    config = network.config
    for index, episode in enumerate(load_episodes(path, [world])):
        if index == int(number):
            return episode.scene(min(config.memory, len(episode)) - 1, config.context)
    raise InvalidInputError(f"{path}: there is no episode number {number} of {world}.")


def follow(rows: Ints) -> Choose:
    """Return what chooses the rows (T, N) of ``rows`` one after the other."""

    def choose(step: int, observation: Observation) -> Ints:
        if step >= len(rows):
            raise InvalidInputError(f"the actions end after {len(rows)} steps: give --steps {len(rows)} or fewer.")
        return np.asarray(rows[step])

    return choose


def _ask(name: str, spec: WorldSpec, seed: int) -> Choose:
    from actionparty.worlds.policies import policy

    acting = policy(name)
    acting.reset(spec, seed)
    return lambda step, observation: acting.act(observation)


def _write(out: Path, episode: Episode) -> None:
    from actionparty.data.episodes import write_episode
    from actionparty.data.inspection import filmstrip, spread_steps

    out.mkdir(parents=True, exist_ok=True)
    write_episode(out / "episode", episode)
    _write_film(out, episode)
    filmstrip(episode, out / "filmstrip.png", spread_steps(len(episode), FILMSTRIP_FRAMES))


def _write_film(out: Path, episode: Episode) -> None:
    """Write film.mp4, or film.gif where PyAV is not installed, with a ring and the action of every subject."""
    from actionparty.interfaces.drawing import Shot, fit_scale, scene_picture, subject_colours
    from actionparty.interfaces.video import write_gif, write_mp4

    colours = subject_colours(episode.identities())
    scale = fit_scale(episode.world, FILM_WIDTH)
    pictures = (
        scene_picture(
            [("generated", Shot(episode.frames(t, t + 1)[0], episode.states[t], episode.actions[t]))],
            episode.world,
            colours,
            scale,
            f"step {t}",
        )
        for t in range(len(episode))
    )
    try:
        write_mp4(out / "film.mp4", pictures, FILM_FRAMES_PER_SECOND)
    except MissingDependencyError as error:
        console.say(f"{error} Writing a GIF instead.")
        write_gif(out / "film.gif", list(pictures), FILM_FRAMES_PER_SECOND)
