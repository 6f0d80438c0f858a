from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from actionparty.model.palette import KnownTiles
from actionparty.training.cells import choose_cells
from actionparty.training.lots import StepNoise, scramble, settle
from actionparty.training.sampling import _copied, _land, symexp, symlog

W = 5


def run(
    wanted: list[tuple[int, int]],
    now: list[tuple[int, int]],
    lots: list[float],
    alive: list[bool] | None = None,
    was: list[bool] | None = None,
) -> tuple[list[list[float]], list[bool]]:
    n = len(now)
    position, living = settle(
        torch.tensor([wanted]).float(),
        torch.tensor([now]).float(),
        torch.tensor([alive or [True] * n]),
        torch.tensor([was or [True] * n]),
        torch.tensor([lots]),
        W,
    )
    return position[0].tolist(), living[0].tolist()


def test_who_stayed_keeps_its_cell_whatever_the_lots() -> None:
    assert run([(1, 1), (1, 1)], [(1, 1), (0, 1)], [0.1, 0.9])[0] == [[1, 1], [0, 1]]


@pytest.mark.parametrize(("lots", "expected"), [([0.9, 0.1], [[1, 1], [2, 1]]), ([0.1, 0.9], [[0, 1], [1, 1]])])
def test_of_two_movers_the_larger_lot_wins(lots: list[float], expected: list[list[int]]) -> None:
    assert run([(1, 1), (1, 1)], [(0, 1), (2, 1)], lots)[0] == expected


def test_a_chain_of_losers_goes_back_one_after_the_other() -> None:
    wanted = [(1, 0), (2, 0), (3, 0), (3, 0)]
    now = [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert run(wanted, now, [0.9, 0.8, 0.7, 0.1])[0] == [[0, 0], [1, 0], [2, 0], [3, 0]]


def test_a_column_that_moves_together_arrives() -> None:
    assert run([(1, 0), (2, 0)], [(0, 0), (1, 0)], [0.1, 0.2])[0] == [[1, 0], [2, 0]]


def test_a_subject_that_would_come_back_onto_another_waits() -> None:
    position, alive = run([(1, 1), (1, 1)], [(1, 1), (4, 4)], [0.1, 0.9], was=[True, False])
    assert position == [[1, 1], [4, 4]]
    assert alive == [True, False]


def test_a_subject_that_comes_back_to_a_free_cell_lives() -> None:
    assert run([(1, 1), (2, 2)], [(1, 1), (4, 4)], [0.1, 0.9], was=[True, False]) == ([[1, 1], [2, 2]], [True, True])


def test_the_dead_are_in_nobodys_way() -> None:
    position, alive = run([(1, 1), (1, 1)], [(1, 1), (0, 1)], [0.9, 0.1], alive=[False, True])
    assert position == [[1, 1], [1, 1]]
    assert alive == [False, True]


@given(st.integers(0, 2**31), st.integers(1, 9))
def test_two_living_subjects_never_share_a_cell(seed: int, n: int) -> None:
    g = torch.Generator().manual_seed(seed)
    b = 16
    homes = torch.stack([torch.randperm(9, generator=g)[:n] for _ in range(b)])
    now = torch.stack([homes % 3, homes // 3], -1).float()
    wanted = torch.randint(3, (b, n, 2), generator=g).float()
    stays = torch.rand((b, n, 1), generator=g) < 0.3
    wanted = torch.where(stays, now, wanted)
    alive, was = (torch.rand((b, n), generator=g) < 0.8 for _ in range(2))
    lots = torch.stack([torch.randperm(n, generator=g) for _ in range(b)]) / n
    position, living = settle(wanted, now, alive, was, lots, 3)
    for row in range(b):
        cells = [tuple(p) for p, lives in zip(position[row].tolist(), living[row].tolist(), strict=True) if lives]
        assert len(cells) == len(set(cells))
    assert ((position == wanted) | (position == now)).all(), "a subject gets what it wanted, or stays"
    assert not (living & ~alive).any(), "nobody comes to life"
    assert (living == alive)[was].all(), "who was there is never removed"


def test_a_landing_follows_the_pointers_odds() -> None:
    """Each bound is 5 standard errors: false alarms in fewer than 1 of 400,000 seeds."""
    odds = torch.tensor([0.1, 0.0, 0.2, 0.3, 0.4, 0.0])
    n = 20_000
    lots = torch.rand((1, n), generator=torch.Generator().manual_seed(0))
    place = _land(odds.log().expand(1, n, -1), lots, 3)
    share = (place[0, :, 1] * 3 + place[0, :, 0]).long().bincount(minlength=6) / n
    assert ((share - odds).abs() <= 5 * (odds * (1 - odds) / n).sqrt()).all()


def test_the_extreme_lots_land_on_possible_cells() -> None:
    logits = torch.tensor([0.0, float("-inf"), 0.0, float("-inf")]).expand(1, 2, 4)
    assert _land(logits, torch.tensor([[0.0, 1 - 2**-24]]), 2).tolist() == [[[0, 0], [0, 1]]]


@given(st.integers(0, 2**31), st.floats(0, 1))
def test_all_true_cells_are_chosen_once(seed: int, density: float) -> None:
    changed = torch.rand((3, 12), generator=torch.Generator().manual_seed(seed)) < density
    choice = choose_cells(changed)
    assert choice.index.shape[1] == max(1, int(changed.sum(1).max()))
    for row in range(3):
        chosen = choice.index[row][choice.mask[row]].tolist()
        assert sorted(chosen) == changed[row].nonzero()[:, 0].tolist()


def test_beyond_the_limit_the_largest_lots_are_chosen() -> None:
    changed = torch.tensor([[True, True, False, True, True]])
    choice = choose_cells(changed, 2, torch.tensor([[0.2, 0.9, 1.0, 0.1, 0.5]]))
    assert sorted(choice.index[0].tolist()) == [1, 4]
    assert choice.mask.all()


def test_a_fixed_limit_is_the_number_of_slots() -> None:
    changed = torch.tensor([[True, False, True, False]])
    choice = choose_cells(changed, 3, torch.zeros(1, 4), fixed=True)
    assert choice.index.shape == (1, 3)
    assert sorted(choice.index[choice.mask].tolist()) == [0, 2]
    assert choose_cells(changed, 9, torch.zeros(1, 4), fixed=True).index.shape == (1, 4)


def test_a_limit_above_the_count_changes_nothing() -> None:
    changed = torch.tensor([[True, False, True]])
    assert sorted(choose_cells(changed, 9, torch.zeros(1, 3)).index[0].tolist()) == [0, 2]


def parts_of(noise: StepNoise) -> dict[str, Tensor]:
    cells = torch.arange(6).expand(len(noise.key), -1)
    return {"states": noise.states(2), "lots": noise.lots(2), "gate": noise.gate(6), "pixels": noise.pixels(cells)}


def test_noise_differs_by_seed_and_step_and_not_by_what_else_is_in_the_batch() -> None:
    alone = parts_of(StepNoise.of(torch.tensor([7]), torch.tensor([5])))
    batch = parts_of(StepNoise.of(torch.tensor([3, 7, 7]), torch.tensor([5, 5, 6])))
    for kind, values in alone.items():
        assert torch.equal(values[0], batch[kind][1])
        assert not torch.equal(values[0], batch[kind][0])
        assert not torch.equal(values[0], batch[kind][2])


def test_the_noise_of_a_cell_does_not_depend_on_the_other_cells() -> None:
    noise = StepNoise.of(torch.tensor([7]), torch.tensor([0]))
    all_cells, few = noise.pixels(torch.arange(40)[None]), noise.pixels(torch.tensor([[31, 4]]))
    assert torch.equal(few[0], all_cells[0, [31, 4]])


def test_random_numbers_are_those_of_splitmix64() -> None:
    """The first numbers of the sequence of seed 1234567, from the reference code (https://prng.di.unimi.it)."""
    golden = 0x9E3779B97F4A7C15 - 2**64
    said = scramble(1234567 + torch.arange(1, 6) * golden).tolist()
    expected = (
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    )
    assert [number % 2**64 for number in said] == list(expected)


def test_noise_is_uniform_and_normal_and_its_kinds_are_independent() -> None:
    """Bounds of 5 standard errors; seeds and steps in order, which a weak generator would show."""
    seeds, steps = (part.flatten() for part in torch.meshgrid(torch.arange(50), torch.arange(200), indexing="ij"))
    noise = parts_of(StepNoise.of(seeds, steps))
    count = len(seeds)
    lots = torch.cat([noise["lots"].flatten(1), noise["gate"]], 1)
    assert lots.min() >= 0
    assert lots.max() < 1
    shares = (lots[..., None] < torch.tensor([0.01, 0.1, 0.5, 0.9])).float().mean(0)
    expected = torch.tensor([0.01, 0.1, 0.5, 0.9])
    assert ((shares - expected).abs() <= 5 * (expected * (1 - expected) / count).sqrt()).all()
    normal = torch.cat([noise["states"].flatten(1), noise["pixels"].flatten(1)[:, :400]], 1)
    assert normal.mean(0).abs().max() <= 5 / count**0.5
    assert (normal.var(0) - 1).abs().max() <= 5 * (2 / count) ** 0.5
    mixed = torch.cat([normal[:, :60], torch.special.ndtri(lots.clamp(1e-6, 1 - 1e-6))], 1)
    related = torch.corrcoef(mixed.T) - torch.eye(mixed.shape[1])
    assert related.abs().max() <= 5.5 / count**0.5
    later = torch.corrcoef(
        torch.cat([lots.reshape(50, 200, -1)[:, 1:], lots.reshape(50, 200, -1)[:, :-1]], -1).flatten(0, 1).T
    )
    assert (later - torch.eye(len(later))).abs().max() <= 5.5 / count**0.5, "a step says nothing of the next"


def test_a_fixed_amount_of_work_settles_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    now, wanted = (torch.randint(3, (64, 6, 2), generator=generator).float() for _ in range(2))
    alive, was = (torch.rand((64, 6), generator=generator) < 0.8 for _ in range(2))
    lots = torch.rand((64, 6), generator=generator)
    for one, other in zip(
        settle(wanted, now, alive, was, lots, 3), settle(wanted, now, alive, was, lots, 3, fixed=True), strict=True
    ):
        assert torch.equal(one, other)


def test_rewards_survive_compression() -> None:
    x = torch.tensor([-100.0, -1.0, 0.0, 0.25, 7.0])
    torch.testing.assert_close(symexp(symlog(x)), x)
    assert isinstance(symlog(x), Tensor)


def test_nobody_lands_where_it_is_much_less_likely_than_elsewhere() -> None:
    odds = torch.tensor([0.3, 0.3, 0.3, 0.05, 0.05])  # two walls: a tenth together, a sixth of a floor cell each
    lots = torch.linspace(0, 0.999, 500)[None]
    landed = _land(odds.log().expand(1, 500, 5), lots, 5)[..., 0]
    assert set(landed.flatten().tolist()) == {0.0, 1.0, 2.0}
    assert landed.eq(1).float().mean() == pytest.approx(1 / 3, abs=0.01)


def known_tiles(tiles: Tensor) -> KnownTiles:
    anything = torch.ones(len(tiles) + 1, len(tiles) + 1, dtype=torch.bool)
    return KnownTiles(tiles, torch.zeros(len(tiles), 8), anything, torch.zeros(0, dtype=torch.long))


def test_known_tiles_are_copied_exactly_and_new_ones_stay_as_drawn() -> None:
    known = KnownTiles(
        torch.rand(3, 192), torch.zeros(3, 8), torch.ones(4, 4, dtype=torch.bool), torch.zeros(0, dtype=torch.long)
    )
    drawn = torch.rand(1, 4, 192)
    logits = torch.full((1, 4, 4), -30.0)
    for cell, choice in enumerate((0, 1, 3, 2)):
        logits[0, cell, choice] = 30
    out = _copied(drawn, logits, known, torch.rand(1, 4))
    assert out[0].equal(torch.stack([drawn[0, 0], known.tiles[0], known.tiles[2], known.tiles[1]]))


def test_of_two_tiles_as_likely_each_is_drawn_by_its_lots() -> None:
    known = known_tiles(torch.stack([torch.zeros(192), torch.ones(192)]))
    logits = torch.tensor([-9.0, 2.0, 2.0]).expand(1, 1000, 3)
    lots = torch.rand(1, 1000, generator=torch.Generator().manual_seed(0))
    out = _copied(torch.full((1, 1000, 192), 7.0), logits, known, lots)
    assert out[0, :, 0].tolist() == [float(lot > 0.5) for lot in lots[0]]
