from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.model.samples import TINY, random_subjects
from torch import Tensor

from actionparty.config import MODEL_PRESETS, ModelConfig, RolloutConfig, TrainConfig, from_json, model_preset, to_json
from actionparty.errors import InvalidInputError, UnknownNameError
from actionparty.model.tokens import AGE_LIMIT, SubjectTokens
from actionparty.model.update import REACH, STATE_CHANNELS, NextStates, decode_states, encode_states

Row = tuple[int, int, int, bool, bool]
rows = st.lists(
    st.tuples(st.integers(-REACH, REACH), st.integers(-REACH, REACH), st.integers(0, 3), st.booleans(), st.booleans()),
    min_size=1,
    max_size=6,
)


def states_of(values: list[Row]) -> NextStates:
    dx, dy, facing, alive, jump = (torch.tensor([column]) for column in zip(*values, strict=True))
    jump = jump & alive
    displacement = torch.stack([dx, dy], -1).float() * (alive & ~jump)[..., None]
    return NextStates(displacement, facing, alive, jump)


@given(rows, st.integers(0, 2**31))
def test_states_survive_encoding_with_less_than_half_a_cell_of_noise(values: list[Row], seed: int) -> None:
    states = states_of(values)
    code = encode_states(states)
    assert code.shape == (1, len(values), STATE_CHANNELS)
    noise = torch.rand(code.shape, generator=torch.Generator().manual_seed(seed)) - 0.5
    for vector in (code, code + 0.98 * noise):
        back = decode_states(vector)
        assert torch.equal(back.displacement, states.displacement)
        assert torch.equal(back.facing, states.facing)
        assert torch.equal(back.alive, states.alive)
        assert torch.equal(back.jump, states.jump)


def test_displacements_are_kept_within_reach_and_may_stay_between_cells() -> None:
    vector = torch.tensor([[[9.0, -0.4, 1, -1, -1, -1, 1, -1]]])
    assert decode_states(vector).displacement.tolist() == [[[REACH, 0]]]
    torch.testing.assert_close(decode_states(vector, torch.tensor([False])).displacement[0, 0, 1], torch.tensor(-0.4))


@pytest.mark.parametrize("name", list(MODEL_PRESETS))
def test_presets_survive_json(name: str) -> None:
    config = model_preset(name)
    assert from_json(ModelConfig, to_json(config)) == config


def test_a_configuration_names_what_is_wrong() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean tiny"):
        model_preset("tinny")
    with pytest.raises(UnknownNameError, match=r"update_steps"):
        from_json(RolloutConfig, {"update_step": 2})
    with pytest.raises(InvalidInputError, match=r"wrong type"):
        from_json(ModelConfig, {"width": "wide"})
    with pytest.raises(InvalidInputError, match=r"multiple"):
        ModelConfig(width=100)
    with pytest.raises(InvalidInputError, match=r"head_width must be at least 1"):
        ModelConfig(head_width=0)
    with pytest.raises(InvalidInputError, match=r"memory 1 must not be shorter than context 2"):
        ModelConfig(memory=1)
    with pytest.raises(InvalidInputError, match=r"learning_rate"):
        TrainConfig(learning_rate=0)
    with pytest.raises(InvalidInputError, match=r"bf16"):
        TrainConfig(bf16="maybe")
    with pytest.raises(InvalidInputError, match=r"at least 1"):
        RolloutConfig(render_steps=0)


def absence(alive: bool, ages: list[float]) -> Tensor:
    """Return the clock (n, width) of subjects that are alive or gone for ``ages`` steps."""
    torch.manual_seed(0)
    subjects = random_subjects(1, len(ages), (4, 5))
    now = subjects.alive.clone()
    now[:, -1] = alive
    with torch.no_grad():
        return SubjectTokens(TINY)._absence(replace(subjects, alive=now, age=torch.tensor([ages])))[0]


def test_the_living_have_no_clock() -> None:
    assert not absence(True, [0, 3, AGE_LIMIT, 1000]).any()


def test_every_step_of_absence_is_told_from_every_other_up_to_a_limit() -> None:
    clock = absence(False, [3, 4, 5, AGE_LIMIT - 1, AGE_LIMIT, AGE_LIMIT + 1, 1000])
    apart = torch.cdist(clock[:5], clock[:5]) + torch.diag(torch.full((5,), torch.inf))
    assert apart.min() > TINY.width**0.5, "more than what a whole number in one channel could tell"
    assert torch.equal(clock[4], clock[5])
    assert torch.equal(clock[4], clock[6])


def test_the_clock_of_a_subject_is_its_own() -> None:
    together = absence(False, [3, 9])
    assert torch.equal(together[0], absence(False, [3, 40])[0])
