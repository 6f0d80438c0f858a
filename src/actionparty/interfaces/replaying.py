"""Generate again what was played in the browser: a replay file as a world, and ``rollout --replay``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from actionparty.checkpoints import find_checkpoint, fingerprint, shipped_names
from actionparty.config import to_json
from actionparty.errors import InvalidInputError
from actionparty.interfaces import console
from actionparty.interfaces.commands_rollout import follow, play, recipe_of, write_result
from actionparty.interfaces.play.replay import Replay, first_difference, load_replay, ready
from actionparty.rollout.rollout import BatchRollout, RolloutStep
from actionparty.rollout.snapshot import Snapshot
from actionparty.rollout.table import from_cells
from actionparty.training.checkpoint import load_network
from actionparty.types import CELL, NO_ACTION, Ints, Observation, Scene, SubjectStates, WorldSpec
from actionparty.vocabulary import action_ids


class ReplayWorld:
    """A rollout that stands at the first step of a replay, behind the ``World`` protocol."""

    def __init__(self, rollout: BatchRollout) -> None:
        self._rollout = rollout

    @property
    def spec(self) -> WorldSpec:
        """What this world is."""
        return self._rollout.spec

    def reset(self, *, seed: int | None = None, scene: Scene | None = None) -> Observation:
        """Return the first step; a replay has a seed and a scene of its own."""
        return self._observe(self._rollout.last())

    def step(self, actions: Ints) -> Observation:
        """Generate the next frame."""
        return self._observe(self._rollout.step(self.spec.check_actions(actions)[None]))

    @staticmethod
    def _observe(step: RolloutStep) -> Observation:
        return Observation(step.frames[0], step.states[0], step.rewards[0], ended=False)

    def close(self) -> None:
        """Nothing to free."""


def scene_of(snapshot: Snapshot) -> Scene:
    """Return a rollout as it stands as a scene, with the rows that its model remembers."""
    spec, table = snapshot.spec, snapshot.table
    ids = {number: index for index, number in enumerate(action_ids(spec.actions))}
    actions = np.vectorize(lambda number: ids.get(int(number), NO_ACTION), otypes=[np.int64])
    states = SubjectStates(*(table[name].numpy().copy() for name in ("position", "facing", "alive")))
    return Scene(
        spec,
        from_cells(snapshot.cells, *spec.grid),
        states,
        actions(table["past_action"].numpy()),
        table["identity"].numpy().reshape(-1, CELL, CELL, 3).copy(),
        f"{spec.name}, played",
    )


def run_replay(path: Path, out: Path, checkpoint: str | None) -> tuple[dict[str, Any], int | None]:
    """Generate what ``path`` holds into the new folder ``out``; return the recipe, and the first step that differs.

    Raises:
        InvalidInputError: not a replay file, or ``out`` exists.
        CheckpointError: no weights are there that made it.
    """
    console.check_new(out)
    replay = load_replay(path)
    folder = find_checkpoint(checkpoint if checkpoint is not None else _made_by(replay))
    rollout = ready(replay, load_network(folder), fingerprint(folder))
    start = scene_of(replay.start)
    played = play(ReplayWorld(rollout), start, follow(replay.actions), len(replay.actions), 0, "replay")
    write_result(out, played, start)
    recipe = recipe_of(played, start, fingerprint(folder), 0, to_json(replay.origin.settings))
    differs = first_difference(replay, list(played.episode.frames()))
    recipe |= {"replay": path.name, "as_played": differs is None, "first_difference": differs}
    (out / "rollout.json").write_text(json.dumps(recipe))
    return recipe, differs


def _made_by(replay: Replay) -> str:
    """Return the shipped weights that made a replay."""
    for name in shipped_names():
        if fingerprint(find_checkpoint(name)) == replay.origin.checkpoint:
            return name
    raise InvalidInputError(
        f"this replay was made by weights that don't come with the package ({replay.origin.checkpoint[:12]}...): "
        "give them as --checkpoint."
    )


def tell_difference(differs: int | None) -> str:
    """Return what to tell a person about how a replay went."""
    if differs is None:
        return "Every frame is as it was played."
    return (
        f"From frame {differs} on it differs from what was played: another processor or PyTorch rounds differently, "
        "or it was played with --joint."
    )
