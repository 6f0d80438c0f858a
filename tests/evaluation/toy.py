"""A tiny exact grid world, and generated worlds made of it that are perfect or wrong in one known way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from actionparty.types import (
    CELL,
    FACING_STEPS,
    NO_ACTION,
    Bools,
    Episode,
    Floats,
    Ints,
    Scene,
    SubjectStates,
    WorldSpec,
)

ACTIONS = ("noop", "forward", "backward", "step_left", "step_right", "turn_left", "turn_right", "interact")
NOOP, FORWARD, LEFT, RIGHT, INTERACT = 0, 1, 5, 6, 7
SPEC = WorldSpec("toy", 4, (9, 13), ACTIONS)
N = SPEC.subjects
FLOOR, WALL, MARK = 0, 1, 2
TILES = np.random.default_rng(5).integers(0, 256, (3 + 4 * N, CELL, CELL, 3), dtype=np.uint8)
"""Floor, wall, mark, then every subject in every facing."""
STARTS = np.array([(2, 2), (10, 2), (2, 6), (10, 6)])
_STEPS = {1: (1, 0), 2: (-1, 0), 3: (0, -1), 4: (0, 1)}


@dataclass
class Board:
    """Positions (N, 2) and facings (N,) of the subjects, and which cells (h, w) carry a mark."""

    cell: Ints
    facing: Ints
    marks: Bools
    alive: Bools

    def copy(self) -> Board:
        return Board(self.cell.copy(), self.facing.copy(), self.marks.copy(), self.alive.copy())

    def states(self) -> SubjectStates:
        return SubjectStates(self.cell.astype(np.float32), self.facing.copy(), self.alive.copy())


def new_board() -> Board:
    return Board(STARTS.copy(), np.zeros(N, np.int64), np.zeros(SPEC.grid, bool), np.ones(N, bool))


def step(board: Board, actions: Ints) -> Board:
    """Return the next board: subjects act in order, wipe out the marks they walk on, and toggle the one ahead."""
    board = board.copy()
    for i, action in enumerate(actions):
        if not board.alive[i]:
            continue
        if action in (LEFT, RIGHT):
            board.facing[i] = (board.facing[i] + (1 if action == RIGHT else -1)) % 4
        ahead, aside = _STEPS.get(int(action), (1, 0) if action == INTERACT else (0, 0))
        f = board.facing[i]
        x, y = board.cell[i] + ahead * FACING_STEPS[f] + aside * FACING_STEPS[(f + 1) % 4]
        taken = ((board.cell == (x, y)).all(1) & board.alive).any()
        if is_wall(int(x), int(y)) or taken:
            continue
        if action == INTERACT:
            board.marks[y, x] ^= True
        else:
            board.cell[i] = x, y
            board.marks[y, x] = False
    return board


def is_wall(x: int, y: int) -> bool:
    h, w = SPEC.grid
    return x in (0, w - 1) or y in (0, h - 1)


def tile_ids(board: Board, dress: Ints | None = None) -> Ints:
    """Return (h, w) tile indices; subject i is drawn as ``dress[i]``, not at all where that is -1."""
    h, w = SPEC.grid
    grid = np.where(board.marks, MARK, FLOOR)
    grid[[0, h - 1]] = grid[:, [0, w - 1]] = WALL
    for i in np.flatnonzero(board.alive):
        look = i if dress is None else dress[i]
        if look >= 0:
            x, y = board.cell[i]
            grid[y, x] = 3 + 4 * look + board.facing[i]
    return grid


def draw(grid: Ints, tiles: NDArray[np.uint8] = TILES) -> NDArray[np.uint8]:
    h, w = grid.shape
    return tiles[grid].transpose(0, 2, 1, 3, 4).reshape(h * CELL, w * CELL, 3)


def record(seed: int, rows: int, script: Ints | None = None, tiles: NDArray[np.uint8] = TILES) -> Episode:
    """Play ``rows`` rows at random, or by ``script`` (rows - 1, N)."""
    rng = np.random.default_rng(seed)
    board = new_board()
    actions, boards = [np.full(N, NO_ACTION)], [board]
    for t in range(rows - 1):
        actions.append(rng.integers(0, len(ACTIONS), N) if script is None else script[t])
        board = step(board, actions[-1])
        boards.append(board)
    return Episode(
        SPEC,
        seed,
        tiles,
        np.stack([tile_ids(b) for b in boards]).astype(np.uint16),
        SubjectStates.stack([b.states() for b in boards]),
        np.stack(actions).astype(np.int64),
        np.zeros((rows, N), np.float32),
        False,
    )


@dataclass(frozen=True)
class Answer:
    frames: NDArray[np.generic]
    states: SubjectStates
    rewards: Floats
    ended: Bools


def board_of(scene: Scene) -> Board:
    """Read the board from the last frame of a scene: the toy world has no hidden state."""
    cells = scene.frames[-1].reshape(SPEC.grid[0], CELL, SPEC.grid[1], CELL, 3).transpose(0, 2, 1, 3, 4)
    marks = (cells == TILES[MARK]).all((2, 3, 4))
    states = scene.states[-1]
    return Board(states.cells, states.facing.copy(), marks, states.alive.copy())


class Perfect:
    """A generated world that is the toy world itself; subclasses go wrong in ``actions``, ``states`` or ``frames``."""

    def reset(self, scenes: Sequence[Scene], seeds: Sequence[int]) -> None:
        assert len(scenes) == len(seeds)
        self.boards = [board_of(scene) for scene in scenes]
        self.before = [board.copy() for board in self.boards]
        self.t = 0

    def step(self, actions: Ints) -> Answer:
        self.before, self.t = self.boards, self.t + 1
        self.boards = [step(b, a) for b, a in zip(self.boards, self.heard(actions), strict=True)]
        states = SubjectStates.stack([b.states() for b in self.boards])
        b = len(self.boards)
        frames = np.stack([self.frame(i) for i in range(b)])
        return Answer(frames, self.told(states), np.zeros((b, N), np.float32), np.zeros(b, bool))

    def heard(self, actions: Ints) -> Ints:
        return actions

    def told(self, states: SubjectStates) -> SubjectStates:
        return states

    def frame(self, i: int) -> NDArray[np.generic]:
        return draw(tile_ids(self.boards[i]))


class Dressed(Perfect):
    """Draws subject i as ``dress[i]`` from step ``since`` on (-1: not at all)."""

    def __init__(self, dress: Sequence[int], since: int = 1) -> None:
        self.dress, self.since = np.array(dress), since

    def frame(self, i: int) -> NDArray[np.generic]:
        return draw(tile_ids(self.boards[i], self.dress if self.t >= self.since else None))


class Doubling(Perfect):
    """Draws subject 0 a second time, on the wall of the corner."""

    def frame(self, i: int) -> NDArray[np.generic]:
        grid = tile_ids(self.boards[i])
        grid[0, 0] = 3 + self.boards[i].facing[0]
        return draw(grid)


class Lagging(Perfect):
    """Shows every frame one step late."""

    def frame(self, i: int) -> NDArray[np.generic]:
        return draw(tile_ids(self.before[i]))


class Frozen(Perfect):
    """Subject 0 never does anything."""

    def heard(self, actions: Ints) -> Ints:
        actions = actions.copy()
        actions[:, 0] = NOOP
        return actions


class Deaf(Perfect):
    """Repeats the recorded actions whatever it is told, so it can't know of any change."""

    def heard(self, actions: Ints) -> Ints:
        if not hasattr(self, "remembered"):
            self.remembered: dict[bytes, Ints] = {}
        key = b"".join(tile_ids(b).tobytes() for b in self.boards)
        return self.remembered.setdefault(key, actions)


class Crossed(Perfect):
    """Gives every action to the next subject."""

    def heard(self, actions: Ints) -> Ints:
        return np.roll(actions, 1, axis=1)


class Leaking(Perfect):
    """Subject 0's action also turns subject 3 (far away) to a facing of its own."""

    def told(self, states: SubjectStates) -> SubjectStates:
        facing = states.facing.copy()
        facing[:, 3] = (facing[:, 3] + self.last[:, 0]) % 4
        return replace(states, facing=facing)

    def heard(self, actions: Ints) -> Ints:
        self.last = actions
        return actions


class NotFinite(Perfect):
    """Answers NaN from step ``since`` on."""

    def __init__(self, since: int) -> None:
        self.since = since

    def frame(self, i: int) -> NDArray[np.generic]:
        picture = draw(tile_ids(self.boards[i])).astype(np.float32)
        return picture * np.nan if self.t >= self.since else picture

    def told(self, states: SubjectStates) -> SubjectStates:
        bad = states.position * np.nan if self.t >= self.since else states.position
        return replace(states, position=bad)


class Replay:
    """Any recorded world as if generated: the recordings' own frames and states, whatever the actions are."""

    def __init__(self, episodes: Sequence[Episode]) -> None:
        self.episodes = {episode.seed: episode for episode in episodes}

    def reset(self, scenes: Sequence[Scene], seeds: Sequence[int]) -> None:
        sources = [scene.source.split() for scene in scenes]  # world "seed" SEED "step" ROW
        self.at = [(self.episodes[int(words[2])], int(words[4])) for words in sources]
        self.t = 0

    def step(self, actions: Ints) -> Answer:
        self.t += 1
        now = [(episode, min(row + self.t, len(episode) - 1)) for episode, row in self.at]
        frames = np.concatenate([e.frames(r, r + 1) for e, r in now])
        states = SubjectStates.stack([e.states[r] for e, r in now])
        return Answer(frames, states, np.stack([e.rewards[r] for e, r in now]), np.zeros(len(now), bool))
