"""Which known tile a cell shows: by its pixels to begin with, by what the render blocks mean once that is learned."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.model.samples import TINY, answers, network, random_sample
from torch import Tensor
from torch.nn import functional

from actionparty.data.clips import to_pixels, to_unit
from actionparty.model.network import Network
from actionparty.model.palette import (
    ANYBODY,
    DRAWN,
    MOST_TILES,
    NOBODY,
    KnownTiles,
    Palette,
    WorldTiles,
    fits,
    looks_at,
)

WIDTH = 16


def knowing(palette: Palette, tiles: Tensor) -> KnownTiles:
    return palette.know(WorldTiles.unchanging(tiles))


@pytest.fixture
def tiles() -> Tensor:
    return to_unit(torch.randint(0, 256, (7, 192), generator=torch.Generator().manual_seed(0)))


@pytest.fixture
def palette() -> Palette:
    torch.manual_seed(0)
    return Palette(WIDTH)


def test_an_untrained_palette_chooses_by_the_mean_squared_error_of_pixels(palette: Palette, tiles: Tensor) -> None:
    cells = torch.rand((2, 3, 192), generator=torch.Generator().manual_seed(1)) * 2 - 1
    logits = palette(torch.randn(2, 3, WIDTH), cells, knowing(palette, tiles))
    error = ((cells[:, :, None] - tiles) ** 2).mean(-1)
    torch.testing.assert_close(logits[..., 1:], -palette.sharpness.exp() * error)


def test_an_untrained_palette_takes_what_is_near_and_leaves_what_is_new_as_drawn(
    palette: Palette, tiles: Tensor
) -> None:
    generator = torch.Generator().manual_seed(2)
    near = tiles[[4, 0]] + 0.05 * torch.randn((2, 192), generator=generator)
    new = torch.rand((1, 192), generator=generator) * 2 - 1
    logits = palette(torch.zeros(1, 3, WIDTH), torch.cat([near, new])[None], knowing(palette, tiles))
    assert logits.argmax(-1).tolist() == [[5, 1, DRAWN]]


def test_the_order_of_the_tiles_does_not_matter(palette: Palette, tiles: Tensor) -> None:
    torch.nn.init.normal_(palette.query.weight)
    features, cells = torch.randn(1, 4, WIDTH), torch.randn(1, 4, 192)
    order = torch.tensor([3, 1, 0, 6, 5, 2, 4])
    logits = palette(features, cells, knowing(palette, tiles))
    torch.testing.assert_close(
        palette(features, cells, knowing(palette, tiles[order]))[..., 1:],
        logits[..., 1:][..., order],
    )


def test_what_is_meant_is_learned_whatever_was_drawn(palette: Palette, tiles: Tensor) -> None:
    """Two tiles that differ in a corner, and pixels that never tell which: the features do."""
    tiles[1] = tiles[0]
    tiles[1, :24] *= -1
    features = torch.randn(1, 8, WIDTH, generator=torch.Generator().manual_seed(3))
    meant = torch.tensor([[0, 1, 1, 0, 1, 0, 0, 1]])
    cells = tiles[0].expand(1, 8, 192)
    optimizer = torch.optim.AdamW(palette.parameters(), lr=0.01)
    for _ in range(100):
        loss = functional.cross_entropy(palette(features, cells, knowing(palette, tiles))[0], meant[0] + 1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert palette(features, cells, knowing(palette, tiles)).argmax(-1).equal(meant + 1)


def test_choosing_tiles_does_not_teach_drawing(palette: Palette, tiles: Tensor) -> None:
    cells = torch.randn(1, 4, 192, requires_grad=True)
    palette(torch.randn(1, 4, WIDTH), cells, knowing(palette, tiles)).sum().backward()
    assert cells.grad is None


def test_a_network_without_palette_knows_no_tiles(tiles: Tensor) -> None:
    plain = network(config=replace(TINY, palette=False))
    plain.palettes = {"arena": WorldTiles.unchanging(tiles)}
    assert plain.know(WorldTiles.unchanging(tiles)) is None
    assert plain.known("arena") is None
    assert answers(plain, replace(random_sample(), tiles=tiles)).tiles is None


def test_a_network_knows_the_tiles_of_the_worlds_that_it_has_palettes_of(tiles: Tensor) -> None:
    made: Network = network()
    made.palettes = {"arena": WorldTiles.unchanging(tiles)}
    known = made.known("arena")
    assert isinstance(known, KnownTiles)
    assert known.tiles.equal(tiles)
    assert known.keys.shape == (7, made.config.width)
    assert made.known("arena") is known
    assert made.known("other") is None


def test_known_tiles_are_found_to_the_last_bit(palette: Palette, tiles: Tensor) -> None:
    known = knowing(palette, tiles)
    near = to_pixels(tiles[[3]])
    near[0, 17] ^= 1
    cells = torch.cat([tiles[[6, 0, 3]], to_unit(near), torch.zeros(1, 192)])
    assert known.find(cells[None]).tolist() == [[6, 0, 3, known.unknown, known.unknown]]


def test_tiles_lose_that_were_never_seen_to_follow_the_one_before(palette: Palette, tiles: Tensor) -> None:
    known = palette.know(replace(WorldTiles.unchanging(tiles), changes=torch.tensor([[0, 1], [0, 4], [2, 0]])))
    features, cells = torch.randn(1, 4, WIDTH), torch.randn(1, 4, 192)
    was = torch.tensor([[0, 2, 5, known.unknown]])  # of tile 5 nothing was seen
    lost = palette(features, cells, known) - palette(features, cells, known, was)
    kept = {0: [1, 4], 1: [0]}
    expected = torch.zeros(4, 8)
    for cell, follow in kept.items():
        expected[cell, 1:] = 8.0
        expected[cell, torch.tensor(follow) + 1] = 0.0
    torch.testing.assert_close(lost[0], expected)
    assert expected[:, DRAWN].eq(0).all()


LOOKS = torch.tensor([NOBODY, NOBODY, ANYBODY, 1, 1, 2, 2])
"""Whom each of seven tiles shows."""


def test_a_tile_shows_the_look_that_is_there_or_one_that_may_be() -> None:
    table = [[bool(fits(torch.tensor(look), torch.tensor(there))) for there in (-1, 0, 1, 2)] for look in (-1, 0, 1, 2)]
    assert table == [
        [True, False, False, False],
        [False, True, True, True],
        [False, True, True, False],
        [False, True, False, True],
    ]


def test_the_look_of_a_subject_is_that_of_its_picture(palette: Palette, tiles: Tensor) -> None:
    known = palette.know(replace(WorldTiles.unchanging(tiles), looks=LOOKS))
    pictures = torch.cat([tiles[[5, 3, 2, 0]], -tiles[:1]])
    assert known.look(pictures).tolist() == [2, 1, ANYBODY, ANYBODY, ANYBODY], "a picture of nobody says nothing"
    assert knowing(palette, tiles).look(pictures).tolist() == [ANYBODY] * 5


def test_looks_are_where_living_subjects_are() -> None:
    position = torch.tensor([[[0.0, 0.0], [2.0, 1.0], [1.0, 1.0]]])
    there = looks_at(6, torch.tensor([[1, 2, 0]]), position, torch.tensor([[True, True, False]]), (2, 3))
    assert there.tolist() == [[1, NOBODY, NOBODY, NOBODY, NOBODY, 2]]


def test_cells_are_wrong_that_show_somebody_else_nobody_or_a_ghost(palette: Palette, tiles: Tensor) -> None:
    known = palette.know(replace(WorldTiles.unchanging(tiles), looks=LOOKS))
    shown = torch.tensor([[0, 0, 3, 3, 3, 2, known.unknown]])
    there = torch.tensor([[NOBODY, 1, NOBODY, 1, 2, 2, 1]])
    assert known.wrong(shown, there).tolist() == [[False, True, True, False, True, False, False]]
    assert not knowing(palette, tiles).wrong(shown, there).any()


def test_tiles_lose_that_do_not_show_who_is_there(palette: Palette, tiles: Tensor) -> None:
    known = palette.know(replace(WorldTiles.unchanging(tiles), looks=LOOKS))
    features, cells = torch.randn(1, 3, WIDTH), torch.randn(1, 3, 192)
    lost = palette(features, cells, known) - palette(features, cells, known, None, torch.tensor([[NOBODY, 2, ANYBODY]]))
    kept = {0: [0, 1], 1: [2, 5, 6], 2: [2, 3, 4, 5, 6]}
    expected = torch.full((3, 8), 8.0)
    for cell, fitting in kept.items():
        expected[cell, [DRAWN, *(tile + 1 for tile in fitting)]] = 0.0
    torch.testing.assert_close(lost[0], expected)


def test_too_many_tiles_are_not_known() -> None:
    made = network(3)
    tiles = torch.zeros(MOST_TILES + 1, 192)
    assert made.know(WorldTiles.unchanging(tiles)) is None
    assert made.know(WorldTiles.unchanging(tiles[1:])) is not None
