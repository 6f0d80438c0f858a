"""The sandbox: changes a scene as a person asks.

An edit is made in all context frames and all rows of states, as if things had always stood so: what is taken away
leaves floor behind, what is put down is drawn with the world's own tiles. Knows scenes and tiles; no model and no room.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from actionparty.errors import InvalidInputError
from actionparty.evaluation.labels import AMBIGUOUS, BACKGROUND, TileLabels
from actionparty.evaluation.moves import OPEN
from actionparty.interfaces.play.ops import Add, Face, Move, Op, Paint, Remove
from actionparty.types import CELL, NO_ACTION, Ints, Scene, SubjectStates

MOST_SUBJECTS = 16
PALETTE_TILES = 64
Tiles = NDArray[np.uint8]


@dataclass(frozen=True)
class Palette:
    """What a world is painted with."""

    scenery: Tiles
    """(P, 8, 8, 3) what no subject shows, the commonest first."""
    floor: Tiles
    """(8, 8, 3) what is left where something is taken away."""
    worn: Tiles
    """(S, 8, 8, 3) what shows a subject."""
    look: Ints
    """(S,) which look each of ``worn`` shows."""
    facing: Ints
    """(S,) its facing, -1 where it does not tell."""

    @staticmethod
    def of(labels: TileLabels) -> Palette:
        """Return the palette of a world whose tiles are labelled."""
        order = np.argsort(-labels.count, kind="stable")
        tiles = labels.tiles.reshape(-1, CELL, CELL, 3)
        plain = [i for i in order.tolist() if labels.look[i] == BACKGROUND]
        free = [i for i in plain if labels.passable()[i] == OPEN] or plain or order.tolist()
        worn = [i for i in order.tolist() if labels.look[i] not in (BACKGROUND, AMBIGUOUS)]
        return Palette(
            tiles[plain[:PALETTE_TILES]], tiles[free[0]], tiles[worn], labels.look[worn], labels.facing[worn]
        )

    def png(self) -> bytes:
        """Return the scenery side by side as a PNG."""
        sink = io.BytesIO()
        Image.fromarray(np.concatenate(list(self.scenery), 1)).save(sink, "PNG")
        return sink.getvalue()

    def turned(self, tile: Tiles, facing: int) -> Tiles:
        """Return the picture of whoever ``tile`` shows, facing elsewhere; ``tile`` itself where none is known."""
        if not len(self.worn):
            return tile
        away = np.abs(self.worn.astype(int) - tile.astype(int)).sum((1, 2, 3))
        same = np.flatnonzero((self.look == self.look[away.argmin()]) & (self.facing == facing))
        return self.worn[same[0]] if len(same) else tile


def apply(scene: Scene, ops: Sequence[Op], palette: Palette) -> Scene:
    """Return ``scene`` after ``ops``, in order.

    Raises:
        InvalidInputError: no such subject, cell or tile, a cell that is taken, too many subjects or none left.
    """
    for op in ops:
        match op:
            case Move():
                scene = _move(scene, op, palette)
            case Face():
                scene = _face(scene, op, palette)
            case Add():
                scene = _add(scene, op, palette)
            case Remove():
                scene = _remove(scene, op, palette)
            case Paint():
                scene = _paint(scene, op, palette)
    return replace(scene, source=f"{scene.source.removesuffix(', edited')}, edited")


def _copy(scene: Scene) -> Scene:
    s = scene.states
    states = SubjectStates(s.position.copy(), s.facing.copy(), s.alive.copy())
    return replace(scene, frames=scene.frames.copy(), states=states, actions=scene.actions.copy())


def _check_cell(scene: Scene, x: int, y: int, mover: int = -1) -> None:
    h, w = scene.world.grid
    if x >= w or y >= h:
        raise InvalidInputError(f"({x}, {y}) is outside this world, which is {w} x {h} cells.")
    cells, alive = scene.states[-1].cells, scene.states.alive[-1]
    for other in np.flatnonzero(alive & (cells == (x, y)).all(-1)).tolist():
        if other != mover:
            raise InvalidInputError(f"subject {other} stands at ({x}, {y}).")


def _check_subject(scene: Scene, subject: int) -> None:
    if subject >= scene.world.subjects:
        raise InvalidInputError(f"there is no subject {subject} in this scene.")


def _cell(frame: Tiles, x: int, y: int) -> Tiles:
    """Return a view of one cell of ``frame`` (H, W, 3)."""
    return frame[y * CELL : (y + 1) * CELL, x * CELL : (x + 1) * CELL]


def _picture(scene: Scene, subject: int, palette: Palette) -> Tiles:
    """Return how a subject looks now."""
    states = scene.states[-1]
    if states.alive[subject]:
        x, y = states.cells[subject].tolist()
        return _cell(scene.frames[-1], x, y).copy()
    return palette.turned(scene.identities[subject], int(states.facing[subject]))


def _lift(scene: Scene, subject: int, palette: Palette) -> None:
    """Leave floor where a living subject stands, in every frame, in place."""
    rows = len(scene.actions) - len(scene.frames)
    for k, frame in enumerate(scene.frames):
        states = scene.states[rows + k]
        if states.alive[subject]:
            x, y = states.cells[subject].tolist()
            _cell(frame, x, y)[:] = palette.floor


def _put(scene: Scene, subject: int, place: tuple[int, int], facing: int, picture: Tiles) -> None:
    """Let a subject stand somewhere, as if it always had, in place."""
    scene.states.position[:, subject] = place
    scene.states.facing[:, subject] = facing
    scene.states.alive[:, subject] = True
    scene.actions[:, subject] = NO_ACTION
    for frame in scene.frames:
        _cell(frame, *place)[:] = picture


def _move(scene: Scene, op: Move, palette: Palette) -> Scene:
    _check_subject(scene, op.subject)
    _check_cell(scene, op.x, op.y, op.subject)
    made, picture = _copy(scene), _picture(scene, op.subject, palette)
    _lift(made, op.subject, palette)
    _put(made, op.subject, (op.x, op.y), int(scene.states.facing[-1, op.subject]), picture)
    return made


def _face(scene: Scene, op: Face, palette: Palette) -> Scene:
    _check_subject(scene, op.subject)
    if not scene.states.alive[-1, op.subject]:
        raise InvalidInputError(f"subject {op.subject} is not on the map: move it first.")
    made, picture = _copy(scene), palette.turned(_picture(scene, op.subject, palette), op.facing)
    _lift(made, op.subject, palette)
    x, y = scene.states[-1].cells[op.subject].tolist()
    _put(made, op.subject, (x, y), op.facing, picture)
    return made


def _add(scene: Scene, op: Add, palette: Palette) -> Scene:
    n = scene.world.subjects
    if n >= MOST_SUBJECTS:
        raise InvalidInputError(f"a scene has at most {MOST_SUBJECTS} subjects here.")
    _check_cell(scene, op.x, op.y)
    identity = _new_look(scene, palette)
    s, t = scene.states, len(scene.actions)
    states = SubjectStates(
        np.concatenate([s.position, np.full((t, 1, 2), (op.x, op.y), s.position.dtype)], 1),
        np.concatenate([s.facing, np.zeros((t, 1), s.facing.dtype)], 1),
        np.concatenate([s.alive, np.ones((t, 1), np.bool_)], 1),
    )
    made = replace(
        scene,
        world=replace(scene.world, subjects=n + 1),
        frames=scene.frames.copy(),
        states=states,
        actions=np.concatenate([scene.actions, np.full((t, 1), NO_ACTION, np.int64)], 1),
        identities=np.concatenate([scene.identities, identity[None]]),
    )
    _put(made, n, (op.x, op.y), 0, palette.turned(identity, 0) if _known(identity, palette) else identity)
    return made


def _known(tile: Tiles, palette: Palette) -> bool:
    return bool(len(palette.worn)) and bool((palette.worn == tile).all((1, 2, 3)).any())


def _new_look(scene: Scene, palette: Palette) -> Tiles:
    """Return a picture that nobody has yet: a look of the world that is free, else one with its colours turned."""
    worn = palette.worn.astype(int)
    taken: set[int] = set()
    for identity in scene.identities if len(worn) else ():
        taken.add(int(palette.look[np.abs(worn - identity.astype(int)).sum((1, 2, 3)).argmin()]))
    free = [i for i in range(len(worn)) if int(palette.look[i]) not in taken]
    if free:
        look: Tiles = palette.worn[free[0]]
        return look
    known = {identity.tobytes() for identity in scene.identities}
    turned = (_recoloured(identity, palette.floor, k) for k in range(1, 6) for identity in scene.identities)
    return next((tile for tile in turned if tile.tobytes() not in known), scene.identities[0])


_ORDERS = ((0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1), (2, 1, 0), (1, 0, 2))


def _recoloured(tile: Tiles, floor: Tiles, order: int) -> Tiles:
    """Return ``tile`` with the colours of all that is not floor exchanged."""
    own = (tile != floor).any(-1, keepdims=True)
    return np.where(own, tile[..., _ORDERS[order]], tile)


def _remove(scene: Scene, op: Remove, palette: Palette) -> Scene:
    _check_subject(scene, op.subject)
    if scene.world.subjects == 1:
        raise InvalidInputError("the last subject can't be removed.")
    made = _copy(scene)
    _lift(made, op.subject, palette)
    s = made.states
    return replace(
        made,
        world=replace(scene.world, subjects=scene.world.subjects - 1),
        states=s[:, np.arange(scene.world.subjects) != op.subject],
        actions=np.delete(made.actions, op.subject, 1),
        identities=np.delete(scene.identities, op.subject, 0),
    )


def _paint(scene: Scene, op: Paint, palette: Palette) -> Scene:
    _check_cell(scene, op.x, op.y)
    if op.tile >= len(palette.scenery):
        raise InvalidInputError(f"there is no tile {op.tile}: this world has {len(palette.scenery)}.")
    made = _copy(scene)
    for frame in made.frames:
        _cell(frame, op.x, op.y)[:] = palette.scenery[op.tile]
    return made
