"""The arena: a small reference world in NumPy, exactly repeatable from its seed, with rules to check on paper.

In each step subjects turn; then all beams fire at once; then those not hit act one by one in an order drawn at
random, so that a conflict for one cell is decided by the world's generator: they walk, push a crate, or lift one and
put it down. Then a coin may appear, and removed subjects come back. This module knows no simulator and no model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actionparty.errors import InvalidInputError
from actionparty.types import FACING_STEPS, MAX_SUBJECTS, Bools, Ints, Observation, Scene, SubjectStates, WorldSpec
from actionparty.vocabulary import MOVES
from actionparty.worlds import arena_tiles as pictures

ACTIONS = (*MOVES, "interact", "fire_zap")
BEAM_LENGTH = 3
"""Cells ahead that a beam reaches; it ends before a wall or crate and with the first subject."""
AWAY = 5
"""Frames in which a subject that was hit is missing, the one with the beam included."""
SUBJECTS = 4
ARROWS = "^>v<"
_TURNS = {ACTIONS.index("turn_left"): 3, ACTIONS.index("turn_right"): 1}
_WALKS = {ACTIONS.index(name): turn for turn, name in enumerate(("forward", "step_right", "backward", "step_left"))}
_INTERACT, _FIRE = ACTIONS.index("interact"), ACTIONS.index("fire_zap")

Cell = tuple[int, int]
"""(x, y)"""


@dataclass
class _Board:
    """All that an arena is at one moment. Maps are (h, w); positions (N, 2) are (x, y)."""

    walls: Bools
    crates: Bools
    coins: Bools
    position: Ints
    facing: Ints
    away: Ints
    """(N,) steps until a subject comes back, 0 while it is on the map."""
    loaded: Bools
    beams: Bools


class ArenaWorld:
    """Play the arena with 1 to 64 subjects on a random map of ``size`` (h, w), or on a given ``layout``.

    A layout has a line per row: ``#`` wall, ``c`` crate, ``o`` coin, ``.`` floor, and the subjects in reading order as
    ``^ > v <`` by facing. Each step a coin appears on a random free cell with probability ``coin_rate``, unless there
    are as many as subjects; entering it gives +1. An episode ends after ``length`` steps.

    Raises:
        InvalidInputError: too many subjects for the map, a malformed layout, or a number out of range.
    """

    def __init__(
        self,
        subjects: int | None = None,
        size: tuple[int, int] | None = None,
        layout: str | None = None,
        coin_rate: float = 0.1,
        length: int = 1000,
    ) -> None:
        if not 0 <= coin_rate <= 1 or length < 1:
            raise InvalidInputError(f"arena: coin_rate {coin_rate} must be a probability, length {length} at least 1.")
        self._layout = None if layout is None else _parse(layout, subjects)
        if self._layout is not None:
            subjects, size = len(self._layout.facing), self._layout.walls.shape
        self._spec = arena_spec(SUBJECTS if subjects is None else subjects, size)
        self._coin_rate, self._length = coin_rate, length
        self._board: _Board | None = None
        self._steps = 0

    @property
    def spec(self) -> WorldSpec:
        """What this world is."""
        return self._spec

    def reset(self, *, seed: int | None = None, scene: Scene | None = None) -> Observation:
        """Start an episode; with the same ``seed`` and actions it is the same to the last pixel.

        Raises:
            InvalidInputError: a ``scene`` was given.
        """
        if scene is not None:
            raise InvalidInputError("arena: a real world can't start from a scene; give a seed, or a layout.")
        self._rng = np.random.default_rng(seed)
        self._board = _random_board(self._spec, self._rng) if self._layout is None else _copy(self._layout)
        self._steps = 0
        return self._observe(np.zeros(self._spec.subjects, np.float32))

    def step(self, actions: Ints) -> Observation:
        """Advance by one step with one action index per subject.

        Raises:
            InvalidInputError: wrong actions, or no episode is running.
        """
        board = self._board
        if board is None or self._steps >= self._length:
            raise InvalidInputError("arena: no episode is running; call reset first.")
        chosen = self._spec.check_actions(actions)
        rewards = np.zeros(self._spec.subjects, np.float32)
        self._steps += 1
        returning = board.away == 1
        board.away -= board.away > 1
        _turn(board, chosen)
        _fire(board, chosen)
        for i in self._rng.permutation(self._spec.subjects).tolist():
            if board.away[i] == 0:
                rewards[i] = _act(board, i, int(chosen[i]))
        self._drop_coin()
        self._bring_back(np.flatnonzero(returning))
        return self._observe(rewards)

    def close(self) -> None:
        """End the episode."""
        self._board = None

    def layout(self) -> str:
        """Return the current map as a layout, to read or to start from."""
        if self._board is None:
            raise InvalidInputError("arena: no episode is running; call reset first.")
        return _format(self._board)

    def _drop_coin(self) -> None:
        assert self._board is not None
        wanted = self._rng.random() < self._coin_rate and self._board.coins.sum() < self._spec.subjects
        if wanted and (free := _free_cells(self._board)):
            x, y = free[self._rng.integers(len(free))]
            self._board.coins[y, x] = True

    def _bring_back(self, subjects: Ints) -> None:
        board = self._board
        assert board is not None
        for i in subjects.tolist():
            if free := _free_cells(board):  # on a full map it waits for the next step
                board.position[i] = free[self._rng.integers(len(free))]
                board.facing[i] = self._rng.integers(4)
                board.away[i] = 0

    def _observe(self, rewards: NDArray[np.float32]) -> Observation:
        board = self._board
        assert board is not None
        states = SubjectStates(board.position.astype(np.float32), board.facing.copy(), board.away == 0)
        return Observation(pictures.draw(_picture(board)), states, rewards, self._steps >= self._length)


def arena_spec(subjects: int = SUBJECTS, size: tuple[int, int] | None = None) -> WorldSpec:
    """Return what an arena of this kind is; without a size, one with about nine cells for each subject.

    Raises:
        InvalidInputError: 0 or more than 64 subjects, or a size below 3x3.
    """
    side = max(9, 2 + round(3 * max(subjects, 0) ** 0.5))
    grid = (side, side + 2) if size is None else (int(size[0]), int(size[1]))
    if min(grid) < 3:
        raise InvalidInputError(f"arena: a size of {grid} leaves no floor; at least 3x3 cells are needed.")
    return WorldSpec("arena", subjects, grid, ACTIONS)


def _turn(board: _Board, actions: Ints) -> None:
    for action, quarter_turns in _TURNS.items():
        turning = (actions == action) & (board.away == 0)
        board.facing[turning] = (board.facing[turning] + quarter_turns) % 4


def _fire(board: _Board, actions: Ints) -> None:
    """Fire all beams at once, from where the subjects are, and remove everyone who is hit."""
    board.beams[:] = False
    at = _subject_at(board)
    hit = [_beam(board, at, i) for i in np.flatnonzero((actions == _FIRE) & (board.away == 0)).tolist()]
    for i in {j for j in hit if j is not None}:
        x, y = board.position[i]
        board.crates[y, x] = board.loaded[i]
        board.loaded[i] = False
        board.away[i] = AWAY


def _beam(board: _Board, at: dict[Cell, int], shooter: int) -> int | None:
    """Draw one beam and return whom it hits."""
    cell = _ahead(board, shooter, 0)
    dx, dy = FACING_STEPS[board.facing[shooter]].tolist()
    for _ in range(BEAM_LENGTH):
        if board.walls[cell[1], cell[0]] or board.crates[cell[1], cell[0]]:
            return None
        board.beams[cell[1], cell[0]] = True
        if cell in at:
            return at[cell]
        cell = cell[0] + dx, cell[1] + dy
    return None


def _act(board: _Board, i: int, action: int) -> float:
    """Let one subject walk or use its hands; return its reward."""
    if action == _INTERACT:
        _use_hands(board, i)
    elif action in _WALKS:
        return _walk(board, i, _WALKS[action])
    return 0.0


def _walk(board: _Board, i: int, turn: int) -> float:
    """Go one cell in the direction ``turn`` quarter turns from the facing, pushing a crate if there is one."""
    x, y = _ahead(board, i, turn)
    if board.crates[y, x]:
        dx, dy = x - int(board.position[i, 0]), y - int(board.position[i, 1])
        if not _is_free(board, (x + dx, y + dy)):
            return 0.0
        board.crates[y, x], board.crates[y + dy, x + dx] = False, True
    if board.walls[y, x] or (x, y) in _subject_at(board):
        return 0.0
    board.position[i] = x, y
    reward = float(board.coins[y, x])
    board.coins[y, x] = False
    return reward


def _use_hands(board: _Board, i: int) -> None:
    """Lift the crate ahead, or put the one carried down on a free cell ahead."""
    x, y = _ahead(board, i, 0)
    if board.loaded[i] and _is_free(board, (x, y)):
        board.loaded[i], board.crates[y, x] = False, True
    elif not board.loaded[i] and board.crates[y, x]:
        board.loaded[i], board.crates[y, x] = True, False


def _ahead(board: _Board, i: int, turn: int) -> Cell:
    x, y = (board.position[i] + FACING_STEPS[(board.facing[i] + turn) % 4]).tolist()
    return x, y


def _subject_at(board: _Board) -> dict[Cell, int]:
    return {(x, y): i for i, (x, y) in enumerate(board.position.tolist()) if board.away[i] == 0}


def _is_free(board: _Board, cell: Cell) -> bool:
    x, y = cell
    return not (board.walls[y, x] or board.crates[y, x] or board.coins[y, x] or cell in _subject_at(board))


def _free_cells(board: _Board) -> list[Cell]:
    taken = board.walls | board.crates | board.coins
    present = board.position[board.away == 0]
    taken[present[:, 1], present[:, 0]] = True
    return [(x, y) for y, x in np.argwhere(~taken).tolist()]


def _picture(board: _Board) -> Ints:
    grid = np.full(board.walls.shape, pictures.FLOOR, np.int64)
    for where, tile in (
        (board.beams, pictures.BEAM),
        (board.coins, pictures.COIN),
        (board.crates, pictures.CRATE),
        (board.walls, pictures.WALL),
    ):
        grid[where] = tile
    for (x, y), i in _subject_at(board).items():
        grid[y, x] = pictures.subject_tile(i, int(board.facing[i]), bool(board.loaded[i]))
    return grid


def _empty_board(walls: Bools, subjects: int) -> _Board:
    blank = np.zeros_like(walls)
    zeros = np.zeros(subjects, np.int64)
    position = np.zeros((subjects, 2), np.int64)
    return _Board(walls, blank, blank.copy(), position, zeros, zeros.copy(), zeros.astype(np.bool_), blank.copy())


def _random_board(spec: WorldSpec, rng: np.random.Generator) -> _Board:
    """Draw single pillars that never cut the floor in two, half as many crates as subjects, and the subjects."""
    h, w = spec.grid
    walls = np.ones((h, w), np.bool_)
    walls[1:-1, 1:-1] = False
    walls[2:-2:2, 2:-2:2] = rng.random(walls[2:-2:2, 2:-2:2].shape) < 0.3
    floor = np.argwhere(~walls)[:, ::-1]
    crates = spec.subjects // 2
    if len(floor) < spec.subjects + crates:
        raise InvalidInputError(f"arena: {spec.subjects} subjects don't fit in {h}x{w} cells; choose a larger size.")
    places = rng.permutation(floor)
    board = _empty_board(walls, spec.subjects)
    board.position[:] = places[: spec.subjects]
    board.facing[:] = rng.integers(0, 4, spec.subjects)
    for x, y in places[spec.subjects : spec.subjects + crates]:
        board.crates[y, x] = True
    return board


def _copy(board: _Board) -> _Board:
    return _Board(**{name: value.copy() for name, value in vars(board).items()})


def _parse(layout: str, subjects: int | None) -> _Board:
    """Return the board that a layout shows; its border must be wall."""
    rows = [line.strip() for line in layout.strip().splitlines()]
    if len({len(row) for row in rows}) != 1 or set("".join(rows)) - set("#co." + ARROWS):
        raise InvalidInputError(f"arena: a layout has rows of equal length made of '#co.{ARROWS}', but got:\n{layout}")
    signs = np.array([list(row) for row in rows])
    walls: Bools = signs == "#"
    if not (walls[[0, -1]].all() and walls[:, [0, -1]].all()):
        raise InvalidInputError(f"arena: the border of a layout must be wall ('#'), but got:\n{layout}")
    found = [(x, y) for y, x in np.argwhere(np.isin(signs, list(ARROWS))).tolist()]
    if len(found) > MAX_SUBJECTS or subjects not in (None, len(found)):
        raise InvalidInputError(f"arena: the layout shows {len(found)} subjects, not {subjects or 'at most 64'}.")
    board = _empty_board(walls, len(found))
    board.crates, board.coins = signs == "c", signs == "o"
    for i, (x, y) in enumerate(found):
        board.position[i] = x, y
        board.facing[i] = ARROWS.index(signs[y, x])
    return board


def _format(board: _Board) -> str:
    signs = np.full(board.walls.shape, ".")
    signs[board.walls], signs[board.crates], signs[board.coins] = "#", "c", "o"
    for (x, y), i in _subject_at(board).items():
        signs[y, x] = ARROWS[board.facing[i]]
    return "\n".join("".join(row) for row in signs.tolist())
