"""Chances: how likely lives end and begin and rewards come, from what the network says, put right for each world.

At flow time 0 Update knows the context alone and says the mean of what may be, so for ``ALIVE`` the odds. Left to the
flow, a rare end is never drawn: after an encounter in the matrix games subjects stayed as they were for good. But rare
rows are learned from more often than they come, and an error of squares tells 0.1% badly from 1%. So the odds of a
world are fitted once, on its recordings as they are (``training/chances.py``), and come with the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_LEAST = 1e-3
"""What Update says of odds is cut at this and at 1 minus this."""
_RIDGE = 0.1
_NEWTON_STEPS = 50
NEVER = torch.tensor([0.0, -30.0])
"""Factor and shift of what never comes."""


_ENDS, _RETURNS, _REWARDS = range(3)


@dataclass(frozen=True)
class Chances:
    """How likely what comes by chance is in one world (Platt scaling)."""

    table: Tensor
    """(3, 2): of lives that end, of lives that begin and of rewards, the factor and the shift of the log odds"""

    def to(self, device: torch.device) -> Chances:
        """Return the same on ``device``."""
        return Chances(self.table.to(device))

    def life_changes(self, said: Tensor, alive: Tensor) -> Tensor:
        """Return the odds (B, N) that a life ends, or begins where it is not ``alive`` (B, N).

        ``said`` (B, N) is the channel ``ALIVE`` of what Update says at flow time 0.
        """
        return self._odds(log_odds(said, alive), torch.where(alive, _ENDS, _RETURNS))

    def rewards(self, said: Tensor) -> Tensor:
        """Return the odds (B, N) of a reward, where the heads say the log odds ``said`` (B, N)."""
        return self._odds(said, torch.full_like(said, _REWARDS, dtype=torch.long))

    def _odds(self, said: Tensor, kind: Tensor) -> Tensor:
        factor, shift = self.table.to(said.device)[kind].unbind(-1)
        return torch.sigmoid(factor * said.float() + shift)


def log_odds(said: Tensor, alive: Tensor) -> Tensor:
    """Return the log odds (...) of a life's change that Update's ``said`` (...) in [-1, 1] means."""
    lives = (said.float() + 1) / 2
    return torch.where(alive, 1 - lives, lives).clamp(_LEAST, 1 - _LEAST).logit()


def fit_odds(said: Tensor, happened: Tensor, weight: Tensor) -> Tensor:
    """Return factor and shift (2,) with which log odds ``said`` (n,) fit what ``happened`` (n,) bool best.

    Logistic regression, each case counting ``weight`` (n,), by Newton's method with a slight pull towards (1, 0); what
    never happened is never likely. Source: Platt, Probabilistic outputs for support vector machines (1999).
    """
    if not bool(happened.any()):
        return NEVER
    x = torch.stack([said.double(), torch.ones_like(said, dtype=torch.float64)], 1)
    y, w = happened.double(), weight.double()
    ridge = _RIDGE * torch.eye(2, dtype=torch.float64)
    start = fit = torch.tensor([1.0, 0.0], dtype=torch.float64)

    def loss(fit: Tensor) -> float:
        logit = x @ fit
        misfit = (w * (torch.nn.functional.softplus(logit) - y * logit)).sum()
        return float(misfit + ((fit - start) @ ridge @ (fit - start)) / 2)

    for _ in range(_NEWTON_STEPS):
        odds = torch.sigmoid(x @ fit)
        slope = x.T @ (w * (odds - y)) + ridge @ (fit - start)
        curve = (x * (w * odds * (1 - odds))[:, None]).T @ x + ridge
        step = torch.linalg.solve(curve, slope)
        while loss(fit - step) > loss(fit) and float(step.abs().max()) > 1e-9:
            step = step / 2
        fit = fit - step
        if float(step.abs().max()) < 1e-6:
            break
    return fit.float()
