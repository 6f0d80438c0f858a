from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.model.samples import network
from tests.rollout.samples import (
    ARENA,
    CPU,
    SUBJECTS,
    actions,
    episode,
    identical,
    model,
    play_on,
    rollout,
    scene,
    started,
)

from actionparty.config import RolloutConfig
from actionparty.data.clips import WorldClips, to_pixels, to_unit
from actionparty.errors import CheckpointError, InvalidInputError
from actionparty.model.palette import WorldTiles
from actionparty.rollout import rollout as module
from actionparty.rollout.rollout import BatchRollout
from actionparty.rollout.table import from_cells, to_cells
from actionparty.training.checkpoint import load_tensors, save_tensors
from actionparty.training.objective import subjects_of
from actionparty.training.sampling import SampledStep, sample_step
from actionparty.types import NO_ACTION

STEPS = 6


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> list[SampledStep]:
    """Collect everything that the network sampled."""
    seen: list[SampledStep] = []
    inner = sample_step

    def watched(*arguments: object) -> SampledStep:
        seen.append(inner(*arguments))  # type: ignore[arg-type]
        return seen[-1]

    monkeypatch.setattr(module, "sample_step", watched)
    return seen


def test_frames_survive_being_cut_into_cells() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (48, 56, 3), dtype=np.uint8)
    cells = to_cells(frame)
    np.testing.assert_array_equal(cells[9].reshape(8, 8, 3), frame[8:16, 16:24])
    np.testing.assert_array_equal(from_cells(cells, 6, 7), frame)
    np.testing.assert_array_equal(from_cells(np.stack([cells, cells[::-1]]), 6, 7)[0], frame)


def test_a_rollout_is_the_same_alone_and_in_a_batch() -> None:
    seeds, chosen = [3, 8, 12, 40], actions(STEPS, 4)
    batch = play_on(started(seeds), chosen)
    for i, seed in enumerate(seeds):
        alone = play_on(started([seed]), chosen[:, i : i + 1])
        for one, many in zip(alone, batch, strict=True):
            np.testing.assert_array_equal(one.states.position[0], many.states.position[i])
            np.testing.assert_array_equal(one.states.facing[0], many.states.facing[i])
            np.testing.assert_array_equal(one.states.alive[0], many.states.alive[i])
            np.testing.assert_allclose(one.rewards[0], many.rewards[i], atol=1e-4)
            assert np.abs(one.frames[0].astype(int) - many.frames[i]).max() <= 1


def test_the_random_network_is_worth_testing_with(sampled: list[SampledStep]) -> None:
    steps = play_on(started([3, 8, 12, 40]), actions(STEPS, 4))
    open_gates = np.mean([float(s.changed.float().mean()) for s in sampled])
    assert 0.1 < open_gates < 0.9
    assert any(not np.array_equal(steps[0].states.position, s.states.position) for s in steps)
    assert np.mean([s.states.alive.mean() for s in steps]) > 0.2


def test_the_same_seed_gives_the_same_rollout_bit_for_bit_and_another_does_not() -> None:
    chosen = actions(STEPS, 2)
    first, again = (play_on(started([4, 5]), chosen) for _ in range(2))
    assert all(identical(a, b) for a, b in zip(first, again, strict=True))
    other = rollout()
    other.reset([scene(5 + s % 9, s % 2) for s in (4, 5)], [6, 7])
    assert not identical(first[0], other.step(chosen[0]))


def test_actions_matter() -> None:
    a, b = started([4]), started([4])
    assert not identical(a.step([[0, 0, 0]]), b.step([[1, 0, 0]]))


def test_a_saved_rollout_goes_on_exactly(tmp_path: Path) -> None:
    chosen = actions(STEPS, 2)
    going = started([4, 5], RolloutConfig(update_steps=3, gate_floor=0.1))
    play_on(going, chosen[:3])
    going.save(tmp_path / "middle.safetensors")
    expected = play_on(going, chosen[3:])
    restored = rollout()
    restored.restore(tmp_path / "middle.safetensors")
    assert restored.spec == replace(going.spec)
    assert restored.settings == going.settings
    assert restored.size == 2
    for a, b in zip(expected, play_on(restored, chosen[3:]), strict=True):
        assert identical(a, b)


def test_what_is_no_saved_rollout_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    going = started([4])
    going.save(tmp_path / "good")
    tensors = load_tensors(tmp_path / "good")
    before = going.last()
    save_tensors(tmp_path / "foreign", {"weight": torch.zeros(3)})
    save_tensors(tmp_path / "part", {k: v for k, v in tensors.items() if k != "age"})
    text = bytes(tensors["about"].tolist()).replace(b'"format": 2', b'"format": 7')
    save_tensors(tmp_path / "newer", tensors | {"about": torch.tensor(list(text), dtype=torch.uint8)})
    text = bytes(tensors["about"].tolist()).replace(b"update_steps", b"update_stops")
    save_tensors(tmp_path / "odd", tensors | {"about": torch.tensor(list(text), dtype=torch.uint8)})
    (tmp_path / "cut").write_bytes((tmp_path / "good").read_bytes()[:1000])
    for name, expected in (
        ("foreign", "not a saved rollout"),
        ("part", "not a saved rollout"),
        ("newer", "format 7"),
        ("odd", "update_stops"),
        ("cut", "safetensors"),
        ("missing", "no such file"),
    ):
        with pytest.raises(CheckpointError, match=expected):
            going.restore(tmp_path / name)
    assert identical(before, going.last())


def test_a_rollout_of_another_memory_is_refused(tmp_path: Path) -> None:
    started([4]).save(tmp_path / "saved")
    other = BatchRollout(network(0, replace(ARENA, memory=6)), device=CPU)
    with pytest.raises(CheckpointError, match=r"memory length"):
        other.restore(tmp_path / "saved")


def test_a_fork_has_the_same_future_under_the_same_actions() -> None:
    chosen = actions(STEPS, 2)
    origin = started([4, 5])
    play_on(origin, chosen[:3])
    fork = origin.fork()
    expected = play_on(origin, chosen[3:])
    for a, b in zip(expected, play_on(fork, chosen[3:]), strict=True):
        assert identical(a, b)


def test_a_fork_is_independent_of_its_origin() -> None:
    origin = started([4, 5])
    before = origin.last()
    fork = origin.fork([1, 1, 0])
    assert fork.size == 3
    play_on(fork, actions(STEPS, 3))
    assert identical(before, origin.last())
    untouched = started([4, 5])
    assert identical(origin.step(actions(1, 2)[0]), untouched.step(actions(1, 2)[0]))


def test_a_fork_with_other_seeds_has_other_chances() -> None:
    origin = started([4])
    forks = origin.fork([0, 0, 0], seeds=[4, 9, 9])
    step = forks.step(np.zeros((3, SUBJECTS), int))
    assert np.array_equal(step.frames[1], step.frames[2])
    assert not np.array_equal(step.frames[0], step.frames[1])


def test_impossible_forks_are_refused() -> None:
    origin = started([4, 5])
    with pytest.raises(InvalidInputError, match=r"0 to 1"):
        origin.fork([2])
    with pytest.raises(InvalidInputError, match=r"can't fork"):
        origin.fork([])
    with pytest.raises(InvalidInputError, match=r"one seed per fork"):
        origin.fork(seeds=[1])


@pytest.mark.parametrize(
    "wrong",
    [
        [0, 0, 0],
        [[0, 0]],
        [[0, 0, 0]] * 3,
        [[0, 0, 0], [0, 0, 9]],
        [[0, 0, 0], [0, -1, 0]],
        [[0, 0, 0], [0.5, 0, 0]],
        [[0, 0, 0], [0, 0]],
        "noop",
    ],
)
def test_wrong_actions_are_refused_and_nothing_moves(wrong: object) -> None:
    going = started([4, 5])
    before = going.last()
    with pytest.raises(InvalidInputError, match=r"action"):
        going.step(wrong)
    assert identical(before, going.last())


def test_a_rollout_starts_with_reset(tmp_path: Path) -> None:
    new = rollout()
    for use in (
        lambda: new.step([[0, 0, 0]]),
        lambda: new.last(),
        lambda: new.fork(),
        lambda: new.save(tmp_path / "x"),
        lambda: new.spec,
        lambda: new.size,
    ):
        with pytest.raises(InvalidInputError, match=r"reset"):
            use()


def test_scenes_that_do_not_belong_together_are_refused() -> None:
    one = scene()
    other = replace(one, world=replace(one.world, name="elsewhere"))
    with pytest.raises(InvalidInputError, match=r"two worlds"):
        rollout().reset([one, other], [0, 1])
    with pytest.raises(InvalidInputError, match=r"one seed per scene"):
        rollout().reset([one], [0, 1])
    with pytest.raises(InvalidInputError, match=r"at least one"):
        rollout().reset([], [])


def test_a_rollout_starts_at_the_last_frame_of_its_scene() -> None:
    start = scene()
    going = rollout()
    going.reset([start], [0])
    answer = going.last()
    np.testing.assert_array_equal(answer.frames[0], start.frames[-1])
    np.testing.assert_array_equal(answer.states.position[0], start.states.position[-1])
    assert not answer.rewards.any()
    assert not answer.ended.any()


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_a_scene_gives_the_network_what_a_clip_gives_in_training(step: int) -> None:
    recorded = episode()
    world = WorldClips([recorded])
    clips = world.at(torch.tensor([step + 1]), ARENA.context, ARENA.memory)
    going = rollout()
    going.reset([scene(step)], [0])
    table = going._started()
    assert torch.equal(table.context, to_pixels(world.tiles[clips.context]))
    expected = subjects_of(clips, world.tiles)
    for name in ("position", "facing", "alive", "past_action", "age"):
        assert torch.equal(getattr(table, name), getattr(expected, name)), name
    assert torch.equal(table.identity, to_pixels(expected.identity))


def test_after_a_step_the_network_sees_what_a_clip_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the network be perfect for two steps: its inputs must then be those of the recording."""
    recorded = episode()
    world = WorldClips([recorded])
    going = rollout()
    going.reset([scene(2)], [0])
    for t in (3, 4):
        clips = world.at(torch.tensor([t]), ARENA.context, ARENA.memory)
        answer = SampledStep(
            pixels=world.tiles[clips.target],
            position=clips.next_position,
            facing=clips.next_facing,
            alive=clips.next_alive,
            changed=clips.context[:, -1] != clips.target,
            reward=clips.reward,
            end=torch.zeros(1),
            finite=torch.ones(1, dtype=torch.bool),
            reward_odds=torch.zeros(1, 3),
            waiting=torch.zeros(1, dtype=torch.long),
        )
        monkeypatch.setattr(module, "sample_step", lambda *_, answer=answer: answer)
        step = going.step(recorded.actions[t][None])
        np.testing.assert_array_equal(step.frames[0], recorded.frames(t, t + 1)[0])
    clips = world.at(torch.tensor([5]), ARENA.context, ARENA.memory)
    table, expected = going._started(), subjects_of(clips, world.tiles)
    for name in ("position", "facing", "alive", "past_action", "age"):
        assert torch.equal(getattr(table, name), getattr(expected, name)), name


def test_a_step_tells_how_likely_each_reward_is_and_gives_those_that_are_likelier_than_not() -> None:
    telling = copy.deepcopy(model())
    telling.heads.reward.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    going = BatchRollout(telling, device=CPU)
    going.reset([scene(step) for step in (5, 8, 12, 14)], [3, 8, 12, 40])
    steps = play_on(going, actions(STEPS, 4))
    odds = np.stack([s.reward_odds for s in steps])
    assert odds.shape == (STEPS, 4, 3)
    assert ((odds > 0) & (odds < 1)).all()
    given = np.stack([s.rewards for s in steps]) != 0
    assert np.array_equal(given, odds > 0.5)
    assert 0 < given.mean() < 1
    assert not going.last().reward_odds.any()


def test_a_scene_shorter_than_the_models_memory_repeats_its_first_row() -> None:
    short = episode().scene(0, 1, 1)
    assert len(short.frames) == len(short.actions) == 1
    going = rollout()
    going.reset([short], [0])
    table = going._started()
    assert table.context.shape[1] == ARENA.context
    assert table.position.shape[1] == ARENA.memory
    assert (table.past_action == NO_ACTION).all()
    assert going.step([[0, 0, 0]]).frames.shape == (1, 48, 56, 3)


def test_cells_behind_a_closed_gate_are_copied_exactly(sampled: list[SampledStep]) -> None:
    going = started([4, 5])
    before = going.last().frames
    for row in actions(STEPS, 2):
        frames = going.step(row).frames
        closed = ~sampled[-1].changed.numpy()
        for i in range(2):
            a, b = to_cells(before[i]), to_cells(frames[i])
            assert closed[i].any()
            assert not closed[i].all()
            np.testing.assert_array_equal(a[closed[i]], b[closed[i]])
            assert (a[~closed[i]] != b[~closed[i]]).any()
        before = frames


def test_a_gate_that_never_opens_still_lets_subjects_move(sampled: list[SampledStep]) -> None:
    going = started([4, 5], RolloutConfig(gate_floor=1.0, gate_ceiling=1.0))
    was = going.last().states
    step = going.step(actions(1, 2)[0])
    moved = (step.states.position != was.position).any(-1) & step.states.alive
    assert moved.any()
    changed = sampled[-1].changed.numpy().reshape(2, 6, 7)
    for i, n in np.argwhere(moved):
        x, y = step.states.position[i, n].astype(int)
        assert changed[i, y, x]
    assert changed.mean() < 0.3


def snapping(palette: NDArray[np.uint8]) -> BatchRollout:
    knowing = copy.copy(model())
    knowing.palettes = {scene().world.name: WorldTiles.unchanging(to_unit(torch.from_numpy(palette)))}
    return BatchRollout(knowing, RolloutConfig(snap=True), CPU)


def test_snapping_draws_known_tiles_only(sampled: list[SampledStep]) -> None:
    palette = np.random.default_rng(1).integers(0, 256, (5, 192), dtype=np.uint8)
    going = snapping(palette)
    going.reset([scene(6), scene(9)], [0, 1])
    known = {tile.tobytes() for tile in palette}
    for state in (going, going.fork()):
        frames = state.step(actions(1, 2)[0]).frames
        for i in range(2):
            rendered = to_cells(frames[i])[sampled[-1].changed[i].numpy()]
            assert len(rendered)
            assert {tile.tobytes() for tile in rendered} <= known


def test_snapping_takes_the_nearest_tile() -> None:
    palette = np.stack([np.full(192, level, np.uint8) for level in (0, 100, 255)])
    going = snapping(palette)
    going.reset([scene()], [0])
    pixels = torch.stack([torch.full((192,), v, dtype=torch.uint8) for v in (40, 60, 180, 90)])[None]
    out = to_pixels(going._snapped(to_unit(pixels), torch.tensor([[True, True, True, False]])))
    assert out[0, :, 0].tolist() == [0, 100, 255, 90]


def test_snapping_needs_tiles(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"known tiles"):
        rollout(RolloutConfig(snap=True)).reset([scene()], [0])
    going = snapping(np.zeros((1, 192), np.uint8))
    going.reset([scene()], [0])
    going.save(tmp_path / "snapped")
    with pytest.raises(InvalidInputError, match=r"snap to"):
        rollout().restore(tmp_path / "snapped")


def test_who_stands_between_cells_moves_by_fractions_and_others_by_cells() -> None:
    plain = scene(6)
    between = replace(plain, states=replace(plain.states, position=plain.states.position * 0.8 + 0.1))
    going, alone = rollout(), rollout()
    going.reset([plain, between], [0, 1])
    alone.reset([between], [1])
    rows = actions(6, 2)
    steps = play_on(going, rows)
    places = np.stack([step.states.position for step in steps])
    assert (places[:, 0] == places[:, 0].round()).all()
    assert (places[:, 1] != places[:, 1].round()).mean() > 0.2, "those at the edge are kept within the frame"
    for step, single in zip(steps, play_on(alone, rows[:, 1:]), strict=True):
        np.testing.assert_allclose(step.states.position[1], single.states.position[0], atol=0.02)


def test_who_moves_by_fractions_may_share_a_cell() -> None:
    states = scene(6).states
    near = np.broadcast_to(np.array([[2.3, 2.3], [2.4, 2.3], [2.3, 2.4]], np.float32), states.position.shape)
    together = replace(scene(6), states=replace(states, position=near.copy(), alive=np.ones_like(states.alive)))
    going = rollout()
    going.reset([together] * 8, range(8))
    moved = going.step(actions(1, 8)[0]).states.position - near[-1]
    assert (np.abs(moved).max(-1) > 0.01).mean() > 0.9, "nobody is sent back"


def test_living_subjects_never_share_a_cell() -> None:
    for step in play_on(started([1, 2, 3, 4]), actions(20, 4)):
        for i in range(4):
            cells = [tuple(p) for p in step.states.position[i][step.states.alive[i]]]
            assert len(cells) == len(set(cells))


def test_memory_does_not_grow() -> None:
    going = started([4, 5])

    def sizes() -> dict[str, tuple[torch.Size, torch.dtype]]:
        return {name: (value.shape, value.dtype) for name, value in vars(going._started()).items()}

    before = sizes()
    play_on(going, actions(50, 2))
    assert sizes() == before


def test_answers_are_not_changed_by_later_steps() -> None:
    going = started([4])
    first = going.step(actions(1, 1)[0])
    frames, position = first.frames.copy(), first.states.position.copy()
    play_on(going, actions(3, 1))
    np.testing.assert_array_equal(first.frames, frames)
    np.testing.assert_array_equal(first.states.position, position)


@pytest.mark.parametrize(("update_steps", "render_steps"), [(1, 1), (2, 2), (4, 1)])
def test_steps_are_the_calls_of_the_network(update_steps: int, render_steps: int) -> None:
    net = network(1, ARENA)
    calls = {"observe": 0, "update": 0, "render": 0}
    for name in calls:

        def count(*_: object, name: str = name) -> None:
            calls[name] += 1

        getattr(net, name).register_forward_pre_hook(count)
    going = BatchRollout(net, RolloutConfig(update_steps=update_steps, render_steps=render_steps), device=CPU)
    going.reset([scene()], [0])
    going.step([[0, 0, 0]])
    assert calls == {"observe": 1, "update": update_steps, "render": render_steps}


@pytest.mark.parametrize("count", [1, 64])
def test_one_to_sixty_four_subjects_roll_out(count: int) -> None:
    from tests.training.samples import play

    start = play(3, 0, subjects=count, size=(14, 15)).scene(2, ARENA.context, ARENA.memory)
    going = rollout()
    going.reset([start], [0])
    step = going.step(np.ones((1, count), int))
    assert step.states.position.shape == (1, count, 2)
    assert step.rewards.shape == (1, count)


@pytest.mark.parametrize("part", ["update.out.weight", "render.pixels.weight", "render.gate.3.weight"])
def test_a_network_that_says_nan_is_told(part: str) -> None:
    going = rollout()
    going.network = copy.deepcopy(going.network)  # the tests share one
    going.reset([scene(2), scene(3)], [0, 1])
    forward = np.zeros((2, scene(2).world.subjects), np.int64)
    assert going.step(forward).finite.all()
    dict(going.network.named_parameters())[part].data.fill_(float("nan"))
    assert not going.step(forward).finite.any()
    assert going.last().finite.all()


def test_seeds_of_any_kind_of_whole_number_will_do_and_others_are_refused() -> None:
    going, other = rollout(), rollout()
    going.reset([scene()] * 2, [np.int64(5), 2**64 - 1])  # type: ignore[list-item]
    other.reset([scene()] * 2, [5, -1])
    row = actions(1, 2)[0]
    assert identical(going.step(row), other.step(row))
    for wrong in (0.5, "1", None):
        with pytest.raises(InvalidInputError, match="seeds are whole numbers"):
            going.reset([scene()], [wrong])  # type: ignore[list-item]
