"""A mosaic: many worlds of one checkpoint, generated at once and shown side by side.

The worlds differ as much as they can, each starts from a shipped scene, and a policy plays all of them. Pages go to the
film as they are made; only the small, indexed ones of the GIF are kept.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

from actionparty.errors import MissingDependencyError
from actionparty.interfaces.drawing import FAINT, INK, PAPER, Colour, Shot, fit_font, font, panel, subject_colours
from actionparty.interfaces.video import save_gif, write_mp4
from actionparty.model.network import Network
from actionparty.rollout.generated_world import GeneratedWorld
from actionparty.rollout.rollout import BatchRollout
from actionparty.rollout.scenes import load_scene, scene_paths, scene_worlds
from actionparty.types import CELL, Scene, WorldSpec
from actionparty.worlds.policies import policy

MOSAIC_WORLDS = 16
MOSAIC_STEPS = 80
GIF_STEPS = 60
GIF_BYTES = 4_000_000
"""A larger GIF is written again with fewer steps."""
_WIDTH = 2064
"""Pixels of all boxes of a row together, at most: four of them hold 31 cells, enlarged twofold."""
_MOST_WORKERS = 4
"""Worlds that are generated at the same time, each on one core."""
_MATRIX = "_in_the_matrix"
_CARD: Colour = (27, 30, 40)
_GAP, _PAD, _INSET = 18, 24, 10
_REACH = 0.56
"""Radius of a ring in cells: just around the subject, for neighbours are close."""


@dataclass(frozen=True)
class Mosaic:
    """What was made: the worlds in the order shown, the files, and world frames generated in a second."""

    worlds: tuple[str, ...]
    files: tuple[Path, ...]
    frames_per_second: float

    def to_json(self) -> dict[str, Any]:
        """Return it for a program."""
        files = [str(path) for path in self.files]
        return {"worlds": list(self.worlds), "files": files, "frames_per_second": self.frames_per_second}


def film_mosaic(
    network: Network,
    folder: Path,
    out: Path,
    worlds: int = MOSAIC_WORLDS,
    steps: int = MOSAIC_STEPS,
    seed: int = 0,
    rate: float = 6.0,
    echo: Callable[[str], None] = lambda line: None,
) -> Mosaic | None:
    """Film up to ``worlds`` worlds of the checkpoint ``folder`` in ``out``: MP4 (where PyAV is installed), GIF, still.

    None, and nothing is written, where there would be fewer than two worlds to show.
    """
    scenes = {name: _start(folder, name, seed) for name in scene_worlds(folder)}
    chosen = choose_worlds([scene.world for scene in scenes.values()], worlds)
    if len(chosen) < 2:
        why = "this checkpoint has scenes of" if worlds > 1 else "--mosaic allows"
        echo(f"no mosaic: it shows two worlds or more, and {why} only one.")
        return None
    troupe = Troupe([Stage(network, scenes[spec.name], seed) for spec in chosen])
    files = _write(troupe, out / "mosaic", steps, rate, echo)
    speed = len(chosen) * steps / max(troupe.seconds, 1e-9)
    subjects = sum(spec.subjects for spec in chosen)
    echo(f"mosaic: generated {steps} steps of {len(chosen)} worlds, {subjects} subjects, at {speed:.0f} world frames/s")
    return Mosaic(tuple(spec.name for spec in chosen), files, speed)


def _start(folder: Path, world: str, seed: int) -> Scene:
    paths = scene_paths(folder, world)
    return load_scene(paths[seed % len(paths)])


def family(world: str) -> str:
    """Return what a world has in common with its variants: the name before ``__``; all matrix games are one family."""
    base = world.partition("__")[0]
    return _MATRIX if base.endswith(_MATRIX) else base


def choose_worlds(specs: Iterable[WorldSpec], limit: int) -> list[WorldSpec]:
    """Return up to ``limit`` worlds that differ: one of each family before a second, large casts first."""
    ranks: dict[str, int] = {}
    ranked = []
    for spec in sorted(specs, key=lambda spec: (-spec.subjects, spec.name)):
        rank = ranks[family(spec.name)] = ranks.get(family(spec.name), -1) + 1
        ranked.append((rank, spec))
    return [spec for _, spec in sorted(ranked, key=lambda pair: pair[0])[:limit]]


class Stage:
    """One world of a mosaic: generated, played by the mixed policy, and its latest moment."""

    def __init__(self, network: Network, scene: Scene, seed: int) -> None:
        """Start from ``scene``; chance follows ``seed``."""
        self.spec = scene.world
        self.colours = subject_colours(scene.identities)
        self._world = GeneratedWorld(BatchRollout(network), [scene])
        self._seen = self._world.reset(seed=seed, scene=scene)
        self._acting = policy("mixed")
        self._acting.reset(scene.world, seed)
        self.shot = Shot(self._seen.frame, self._seen.states, scene.actions[-1])

    def step(self) -> None:
        """Generate the next frame."""
        actions = self._acting.act(self._seen)
        self._seen = self._world.step(actions)
        self.shot = Shot(self._seen.frame, self._seen.states, actions)


class Troupe:
    """All worlds of a mosaic, a step at a time; ``seconds`` is how long generating has taken so far."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        """Show ``stages``, row by row."""
        self.stages = stages
        self.seconds = 0.0

    def pages(self, steps: int) -> Iterator[Image.Image]:
        """Yield ``steps`` + 1 pages, beginning with the scenes."""
        layout = Layout.of([stage.spec for stage in self.stages])
        workers = min(_MOST_WORKERS, os.cpu_count() or 1)
        with ThreadPoolExecutor(workers, "mosaic", initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for step in range(steps + 1):
                if step:
                    self._step(pool)
                yield layout.draw([self._picture(*pair) for pair in zip(self.stages, layout.scales, strict=True)], step)

    def _step(self, pool: ThreadPoolExecutor) -> None:
        began = time.monotonic()
        deque(pool.map(Stage.step, self.stages), maxlen=0)  # raises what a world raised
        self.seconds += time.monotonic() - began

    @staticmethod
    def _picture(stage: Stage, scale: float) -> Image.Image:
        return panel(stage.shot, stage.spec, stage.colours, scale, icons=False, reach=_REACH)


@dataclass(frozen=True)
class Layout:
    """Where everything stands on a page: equal boxes (w, h) in ``columns``, and the factor of each world's frames."""

    specs: tuple[WorldSpec, ...]
    columns: int
    scales: tuple[float, ...]
    box: tuple[int, int]

    @staticmethod
    def of(specs: Sequence[WorldSpec]) -> Layout:
        """Lay out as many columns as rows, or one more, in boxes no larger than what they hold."""
        columns = math.ceil(math.sqrt(len(specs)))
        side = _WIDTH // columns - 2 * _INSET
        scales = tuple(box_scale(spec.grid, side) for spec in specs)
        width, height = (
            max(round(spec.grid[axis] * CELL * scale) for spec, scale in zip(specs, scales, strict=True))
            for axis in (1, 0)
        )
        return Layout(tuple(specs), columns, scales, (width + 2 * _INSET, height + 2 * _INSET))

    @property
    def text(self) -> int:
        """Pixels of the captions' font."""
        return min(22, max(12, self.box[0] // 22))

    @property
    def size(self) -> tuple[int, int]:
        """(w, h) of a page, both even, as video encoders want it."""
        rows = math.ceil(len(self.specs) / self.columns)
        width = 2 * _PAD + self.columns * (self.box[0] + _GAP) - _GAP
        height = self.place(self.columns * rows - 1)[1] + self.box[1] + _PAD
        return width + width % 2, height + height % 2

    def place(self, k: int) -> tuple[int, int]:
        """Return the upper left corner of box ``k``; its caption stands above."""
        row, column = divmod(k, self.columns)
        first = _PAD + 2 * self.text + _GAP // 2 + self._caption_height
        return _PAD + column * (self.box[0] + _GAP), first + row * (self.box[1] + self._caption_height + _GAP)

    @property
    def _caption_height(self) -> int:
        return round(2.7 * self.text)

    def draw(self, pictures: Sequence[Image.Image], step: int) -> Image.Image:
        """Return the page of a step with a picture for each world."""
        page = self._ground.copy()
        ImageDraw.Draw(page).text((page.width - _PAD, _PAD), f"step {step}", FAINT, font(self.text + 4), anchor="ra")
        for k, picture in enumerate(pictures):
            left, top = self.place(k)
            page.paste(picture, (left + (self.box[0] - picture.width) // 2, top + (self.box[1] - picture.height) // 2))
        return page

    @cached_property
    def _ground(self) -> Image.Image:
        """Return what is the same on all pages: title, captions and empty boxes."""
        page = Image.new("RGB", self.size, PAPER)
        pen = ImageDraw.Draw(page)
        subjects = sum(spec.subjects for spec in self.specs)
        title = f"{len(self.specs)} worlds   {subjects} subjects   one network"
        pen.text((_PAD, _PAD), title, INK, font(self.text + 4))
        for k, spec in enumerate(self.specs):
            left, top = self.place(k)
            self._caption(pen, spec, left, top - self._caption_height)
            pen.rectangle((left, top, left + self.box[0] - 1, top + self.box[1] - 1), _CARD)
        return page

    def _caption(self, pen: ImageDraw.ImageDraw, spec: WorldSpec, left: int, top: int) -> None:
        base, _, variant = spec.name.partition("__")
        count = f"{spec.subjects} subject" + "s" * (spec.subjects > 1)
        pen.text((left, top), base, INK, fit_font(base, self.text, self.box[0]))
        room = self.box[0] - font(self.text - 3).getlength(f"   {count}")
        below = top + round(1.25 * self.text)
        pen.text((left, below), variant, FAINT, fit_font(variant, self.text - 3, room))
        pen.text((left + self.box[0], below), count, FAINT, font(self.text - 3), anchor="ra")


def box_scale(grid: tuple[int, int], side: int) -> float:
    """Return the factor that fits frames of ``grid`` (h, w) into a square box: a whole one, half steps below 2."""
    fits = side / (max(grid) * CELL)
    return float(math.floor(fits)) if fits >= 2 else max(0.5, math.floor(2 * fits) / 2)


def _write(troupe: Troupe, stem: Path, steps: int, rate: float, echo: Callable[[str], None]) -> tuple[Path, ...]:
    """Write MP4 (where PyAV is installed), GIF and, of the last step, a still; return their paths."""
    film, gif, still = (stem.with_suffix(suffix) for suffix in (".mp4", ".gif", ".png"))
    small: list[Image.Image] = []
    pages = _kept(troupe.pages(steps), small, still, steps)
    files = [film, gif, still]
    try:
        write_mp4(film, pages, rate)
    except MissingDependencyError as error:
        echo(f"{error} (the GIF is there)")
        deque(pages, maxlen=0)
        files.remove(film)
    _write_gif(gif, small, rate)
    return tuple(files)


def _kept(pages: Iterable[Image.Image], small: list[Image.Image], still: Path, last: int) -> Iterator[Image.Image]:
    """Pass ``pages`` on; keep the first ones in ``small``, halved and in the colours of the first, and the last one."""
    palette: Image.Image | None = None
    for step, page in enumerate(pages):
        if step <= GIF_STEPS:
            half = page.reduce(2)
            palette = palette or half.quantize(255, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
            small.append(half.quantize(palette=palette, dither=Image.Dither.NONE))
        if step == last:
            page.save(still)
        yield page


def _write_gif(path: Path, pictures: Sequence[Image.Image], rate: float) -> None:
    """Write as many of ``pictures`` as stay below ``GIF_BYTES``, at least two."""
    count = len(pictures)
    save_gif(path, pictures, rate)
    while path.stat().st_size > GIF_BYTES and count > 2:
        count = max(2, min(count - 1, count * GIF_BYTES // path.stat().st_size))
        save_gif(path, pictures[:count], rate)
