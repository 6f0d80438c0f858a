"""Melting Pot's substrates as worlds: whole frame, exact subject states, rewards and named actions.

The simulator (dmlab2d) is asked for nothing else: not for the views of the single players, which cost more than half
of its time. It is *not* repeatable from a seed, so what happened must be recorded, never simulated again. Recording and
models must not be known here.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import random
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from actionparty.errors import InvalidInputError
from actionparty.types import CELL, Bools, Ints, Observation, Scene, SubjectStates, WorldSpec
from actionparty.worlds import meltingpot_sources as sources

_MOVES = {
    (): "noop",
    (("move", 1),): "forward",
    (("move", 2),): "step_right",
    (("move", 3),): "backward",
    (("move", 4),): "step_left",
    (("turn", -1),): "turn_left",
    (("turn", 1),): "turn_right",
    (("hold", 1), ("shove", -1)): "pull",
    (("hold", 1), ("shove", 1)): "push",
}
_READS_VIEWS = ("hidden_agenda",)
"""Levels whose rules depend on what a player sees; everywhere else a view of one cell does."""
_EXITS = {"hidden_agenda": {"tagHit": b"target", "vote_removed": b"player_index"}}
"""By level: events that put a subject out for the rest of the episode though it stays in sight, with the field that
names it. In hidden_agenda it is left lying where it was tagged, or sits in jail."""
_SEEDS = 2**31


class MeltingPotWorld:
    """Play one substrate with its default roles, with a number of ``subjects``, or with given ``roles``.

    With fewer subjects than usual, every role is filled once before any is filled twice; with more, the default roles
    are cycled. A subject is alive while it is in play; while it isn't, its state stays the last one in play.

    Raises:
        UnknownNameError: no such substrate.
        InvalidInputError: the substrate can't be played by so many subjects, or in these roles.
        MissingDependencyError: Melting Pot is not installed; the message says how to.
    """

    def __init__(self, substrate: str, subjects: int | None = None, roles: Sequence[str] | None = None) -> None:
        self._config = sources.substrate_config(substrate)
        self._roles = _choose_roles(substrate, self._config, subjects, roles)
        height, width, _ = self._config.timestep_spec.observation["WORLD.RGB"].shape
        table = [dict(raw) for raw in self._config.action_set]
        names = tuple(action_name(raw) for raw in table)
        self._spec = WorldSpec(substrate, len(self._roles), (height // CELL, width // CELL), names)
        self._actions = table
        self._lab: Any = None
        self._running = False

    @property
    def spec(self) -> WorldSpec:
        """What this world is."""
        return self._spec

    def reset(self, *, seed: int | None = None, scene: Scene | None = None) -> Observation:
        """Build the simulator anew and start an episode; ``seed`` only loosely decides what happens.

        Raises:
            InvalidInputError: a ``scene`` was given, or the substrate has no room for so many subjects.
        """
        if scene is not None:
            raise InvalidInputError(f"{self._spec.name}: a real simulator can't start from a scene; give a seed only.")
        self._running = False
        number = random.randrange(_SEEDS) if seed is None else seed % _SEEDS
        self._lab = None  # free the old simulator before the new one is built
        self._lab = self._start(number)
        self._running = True
        self._states: SubjectStates | None = None
        return self._observe(ended=False)

    def step(self, actions: Ints) -> Observation:
        """Advance by one step with one action index per subject.

        Raises:
            InvalidInputError: wrong actions, or no episode is running.
        """
        if not self._running:
            raise InvalidInputError(f"{self._spec.name}: no episode is running; call reset first.")
        chosen = self._spec.check_actions(actions)
        self._vector[self._columns] = self._values[chosen]
        self._lab.act_discrete(self._vector[:-1])
        status, _ = self._lab.advance()
        self._running = status == self._lab2d.RUNNING
        return self._observe(ended=not self._running)

    def close(self) -> None:
        """Free the simulator."""
        self._lab = None
        self._running = False

    def _start(self, seed: int) -> Any:
        try:
            settings = self._settings(seed)
            self._lab2d = importlib.import_module("dmlab2d")
            root = importlib.import_module("dmlab2d.runfiles_helper").find()
            with _quiet_stdout():
                lab = self._lab2d.Lab2d(root, settings)
                lab.start(0, seed)
        except (AssertionError, IndexError, KeyError, RuntimeError, ValueError) as error:
            raise InvalidInputError(
                f"{self._spec.name} can't be started with {self._spec.subjects} subjects ({_reason(error)}). "
                f"By default it has {len(self._config.default_player_roles)}."
            ) from error
        self._prepare(lab)
        return lab

    def _settings(self, seed: int) -> dict[str, str]:
        """Return the simulator's settings; note each subject's own cell in its view, and the level's exits."""
        builder = sources.builder()
        with _python_random(seed):
            settings = sources.lab2d_settings(self._config, self._roles)
        settings.simulation.buildAvatars = False  # that is: build them in the next line, not in Lua
        builder.maybe_build_and_add_avatar_objects(settings)
        self._own_cells = _instrument(settings, keep_views=settings.levelName in _READS_VIEWS)
        self._exits = _EXITS.get(settings.levelName, {})
        builder.locate_and_overwrite_level_directory(settings)
        flat = builder.parse_python_settings_for_dmlab2d(settings)
        return {**flat, "env_seed": str(seed + 1), "logLevel": "ERROR"}

    def _prepare(self, lab: Any) -> None:
        """Look up once what every step needs: observation names and where each subject's action values go."""
        ids = range(1, self._spec.subjects + 1)
        self._names = {kind: [f"{i}.{kind}" for i in ids] for kind in ("POSITION", "ORIENTATION", "LAYER", "REWARD")}
        keys = sorted({key for raw in self._actions for key in raw})
        places = {name: i for i, name in enumerate(lab.action_discrete_names())}
        spare = len(places)  # takes values that a subject's role has no use for
        self._columns = np.array([[places.get(f"{i}.{key}", spare) for key in keys] for i in ids])
        self._values = np.array([[raw.get(key, 0) for key in keys] for raw in self._actions], np.int32)
        self._vector = np.zeros(spare + 1, np.int32)
        self._out = np.zeros(self._spec.subjects, np.bool_)

    def _observe(self, ended: bool) -> Observation:
        read = self._lab.observation
        frame = np.array(read("WORLD.RGB"))  # a copy: the simulator draws the next frame in the same place
        position = np.array([read(name) for name in self._names["POSITION"]], np.float32)
        facing = np.array([read(name) for name in self._names["ORIENTATION"]], np.int64)
        rewards = np.array([read(name) for name in self._names["REWARD"]], np.float32)
        alive = self._read_alive()
        if self._states is not None and not alive.all():
            position = np.where(alive[:, None], position, self._states.position)
            facing = np.where(alive, facing, self._states.facing)
        self._states = SubjectStates(position, facing, alive)
        return Observation(frame, self._states, rewards, ended)

    def _read_alive(self) -> Bools:
        """Read who is on the map (else all layers at the own cell are ``OutOfView``) and not out for good."""
        views = [self._lab.observation(name) for name in self._names["LAYER"]]
        layers = np.array([view[cell] for view, cell in zip(views, self._own_cells, strict=True)])
        off_map = (layers[:, 0] > 0) & (layers == layers[:, :1]).all(axis=1)
        if self._exits:
            self._read_exits()
        alive: Bools = ~(off_map | self._out)
        return alive

    def _read_exits(self) -> None:
        for name, fields in self._lab.events():
            if name in self._exits:
                values = dict(zip(fields[1::2], fields[2::2], strict=True))
                self._out[int(values[self._exits[name]]) - 1] = True


def action_name(raw: Mapping[str, int]) -> str:
    """Return the shared name of one entry of a substrate's action set, e.g. ``fire_zap`` of ``{"fireZap": 1}``."""
    values = tuple(sorted((key, int(value)) for key, value in raw.items() if value))
    if values in _MOVES:
        return _MOVES[values]
    amounts = dict(values)
    if amounts.keys() == {"offer_apple", "offer_banana"}:
        give, get = sorted(("apple", "banana"), key=lambda fruit: amounts[f"offer_{fruit}"])
        return f"offer_{give}_{-amounts[f'offer_{give}']}_for_{get}_{amounts[f'offer_{get}']}"
    parts = [_snake(key) + (f"_{value}" if value != 1 or key == "vote" else "") for key, value in values]
    return "_and_".join(parts)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _choose_roles(name: str, config: Any, subjects: int | None, roles: Sequence[str] | None) -> tuple[str, ...]:
    default: tuple[str, ...] = tuple(config.default_player_roles)
    if roles is not None:
        if subjects not in (None, len(roles)):
            raise InvalidInputError(f"{name}: {subjects} subjects but {len(roles)} roles; give one or the other.")
        if unknown := sorted(set(roles) - set(config.valid_roles)):
            raise InvalidInputError(f"{name}: no role {', '.join(unknown)}; roles: {sorted(config.valid_roles)}.")
        return tuple(roles)
    n = len(default) if subjects is None else subjects
    if n < len(default):
        return _each_role_first(default)[:n]
    return tuple(default[i % len(default)] for i in range(n))


def _each_role_first(roles: tuple[str, ...]) -> tuple[str, ...]:
    first = sorted({role: roles.index(role) for role in roles}.values())
    return tuple(roles[i] for i in [*first, *(i for i in range(len(roles)) if i not in first)])


def _reason(error: Exception) -> str:
    """Return in a few words why the simulator could not start; its own messages are a trace of Lua calls."""
    if isinstance(error, IndexError | KeyError):
        return "the substrate has no place or colour for so many"
    found = re.search(r"\.lua:\d+: (.+)", str(error))
    return (found.group(1) if found else str(error)).strip().rstrip(".!")


def _instrument(settings: Any, keep_views: bool) -> list[tuple[int, int]]:
    """Make every subject tell its place; return, by subject, (row, column) of its own cell in its view."""
    cells: dict[int, tuple[int, int]] = {}
    simulation = settings.simulation
    for thing in simulation.gameObjects:
        for part in thing["components"]:
            if part["component"] == "Avatar":
                cells[int(part["kwargs"]["index"])] = _set_view(part["kwargs"], keep_views)
                observer = {"objectIsAvatar": True, "alsoReportOrientation": True}
                thing["components"].append({"component": "LocationObserver", "kwargs": observer})
                break
    return [cells[i] for i in sorted(cells)]


def _set_view(avatar: Any, keep: bool) -> tuple[int, int]:
    if keep:
        return int(avatar["view"]["forward"]), int(avatar["view"]["left"])
    avatar["view"] = {"left": 0, "right": 0, "forward": 0, "backward": 0, "centered": False}
    return 0, 0


@contextmanager
def _python_random(seed: int) -> Iterator[None]:
    """Let a configuration draw from Python's global generator, seeded, and give that back as it was."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


@contextmanager
def _quiet_stdout() -> Iterator[None]:
    """Drop what the simulator's Lua code prints: it writes to the process's standard output, past Python."""
    flush = ctypes.CDLL(None).fflush
    sys.stdout.flush()
    flush(None)
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        flush(None)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
