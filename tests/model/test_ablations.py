"""Each setting that switches a part of the method off does just that; docs/ablations.md rests on it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.model.samples import TINY, Sample, answers, network, random_sample

from actionparty.config import ModelConfig
from actionparty.model.joint import Joint
from actionparty.model.tokens import PooledTokens

OFF = {
    "no-spatial-bias": replace(TINY, spatial_bias=False),
    "no-subject-tokens": replace(TINY, subject_tokens=False),
    "resolved-apart": replace(TINY, together=False),
    "identity-from-last-frame": replace(TINY, lasting_identity=False),
}


def moved(sample: Sample, **changes: torch.Tensor) -> Sample:
    """Return ``sample`` with other subjects' values."""
    return replace(sample, subjects=replace(sample.subjects, **changes))


def other_action(sample: Sample, subject: int) -> Sample:
    action = sample.subjects.action.clone()
    action[:, subject] = (action[:, subject] + 1) % 5
    return moved(sample, action=action)


@pytest.mark.parametrize("config", OFF.values(), ids=OFF.keys())
def test_every_variant_differs_from_the_full_model(config: ModelConfig) -> None:
    sample = random_sample(count=4)
    assert (answers(network(config=config), sample).states - answers(network(), sample).states).abs().max() > 1e-3


def test_without_the_spatial_bias_rope_forgets_where_subjects_stand() -> None:
    sample = random_sample(count=4)
    for config, bound in ((TINY, True), (OFF["no-spatial-bias"], False)):
        net = network(config=config)
        observed = net.observe(sample.context, sample.subjects, sample.grid, sample.world)
        shifted = replace(observed, position=(observed.position + 1) % 3)
        results = [net.update(o, net.update.remember(o), sample.noise, sample.time)[0] for o in (observed, shifted)]
        assert (not torch.equal(*results)) == bound


def test_without_the_spatial_bias_slots_tell_equal_subjects_apart() -> None:
    sample = random_sample(count=2)
    s = sample.subjects
    same = s.map(lambda x: x[..., :1, :].expand_as(x) if x.dim() == 4 else x)
    same = replace(
        same,
        facing=s.facing[..., :1].expand_as(s.facing),
        alive=s.alive[..., :1].expand_as(s.alive),
        past_action=s.past_action[..., :1].expand_as(s.past_action),
        action=s.action[:, :1].expand_as(s.action),
        age=s.age[:, :1].expand_as(s.age),
        identity=s.identity[:, :1].expand_as(s.identity),
    )
    for config, slots in ((TINY, False), (OFF["no-spatial-bias"], True)):
        observed = network(config=config).observe(sample.context, same, sample.grid, sample.world)
        apart = (observed.subjects[:, 0] - observed.subjects[:, 1]).abs().max()
        assert (apart > 1e-3) == slots


def test_without_subject_tokens_only_the_pooled_actions_are_known() -> None:
    net, sample = network(config=OFF["no-subject-tokens"]), random_sample(count=3)
    assert isinstance(net.observe.subject_tokens, PooledTokens)
    elsewhere = moved(sample, position=(sample.subjects.position + 1) % 3, identity=-sample.subjects.identity)
    assert torch.equal(answers(net, sample).gate, answers(net, elsewhere).gate)
    one, other = (answers(net, other_action(sample, k)) for k in (0, 1))
    plain = answers(net, sample)
    assert (one.gate - plain.gate).abs().max() > 1e-5
    assert (one.gate - other.gate).abs().max() > 1e-5  # the pool still tells whose action it was


def test_resolved_apart_the_noise_of_one_subject_never_reaches_another() -> None:
    sample = random_sample(count=4)
    noise = sample.noise.clone()
    noise[:, 0] += 1
    for config, together in ((TINY, True), (OFF["resolved-apart"], False)):
        net = network(config=config)
        plain, disturbed = answers(net, sample).states, answers(net, replace(sample, noise=noise)).states
        assert (plain[:, 0] - disturbed[:, 0]).abs().max() > 1e-4
        assert torch.allclose(plain[:, 1:], disturbed[:, 1:], atol=1e-6) != together


def test_identity_from_the_last_frame_ignores_the_given_picture() -> None:
    sample = random_sample(count=4)
    painted = moved(sample, identity=-sample.subjects.identity)
    for config, lasting in ((TINY, True), (OFF["identity-from-last-frame"], False)):
        net = network(config=config)
        assert torch.equal(answers(net, sample).states, answers(net, painted).states) != lasting


def test_the_joint_flow_has_the_same_blocks_and_reads_both_noises() -> None:
    staged, joint = network(), network(config=replace(TINY, staged=False))
    assert len(list(joint.blocks())) == len(list(staged.blocks()))
    assert isinstance(joint.joint, Joint)
    sample = random_sample(count=3)
    cells = torch.randn(sample.context.shape[0], sample.context.shape[2], 192)

    def run(states: torch.Tensor, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert joint.joint is not None
        noisy = states, pixels
        found = joint.joint(sample.context, sample.subjects, sample.grid, sample.world, noisy, sample.time)
        return found[0], found[1]

    plain = run(sample.noise, cells)
    assert plain[0].shape == sample.noise.shape
    assert plain[1].shape == cells.shape
    for changed in (run(sample.noise + 1, cells), run(sample.noise, cells + 1)):
        assert all((a - b).abs().max() > 1e-4 for a, b in zip(plain, changed, strict=True))
