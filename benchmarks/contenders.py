"""What `benchmarks/peers.py` compares: ActionParty, the libraries that people would use instead, the real simulator.

A contender makes one frame after another, as 8-bit pixels, with its reward and end where it has them. The peers have
random weights, since what a frame costs does not depend on them, and are stepped by their own public interface; each
makes 64x64-pixel pictures for one player, so that several players are a batch. Nothing is downloaded.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from actionparty.checkpoints import find_checkpoint
from actionparty.config import AUTO
from actionparty.environment.crops import crop
from actionparty.errors import MissingDependencyError
from actionparty.rollout.rollout import BatchRollout
from actionparty.rollout.scenes import load_scene, scene_paths
from actionparty.training.checkpoint import load_network
from actionparty.types import Ints, WorldSpec
from actionparty.worlds.catalogue import make_world
from actionparty.worlds.views import view_of

SIDE = 64
"""Height and width of a peer's pictures."""
DREAM = 4
"""Frames after which a dream of dreamer4 begins anew: it decodes its whole past at every frame, so that a longer one is
slower. Short dreams favour it."""
SIZES = ("default", "matched")
PEERS = ("simulusion", "dreamer4")

Picture = NDArray[np.uint8]


class Contender(Protocol):
    """Something that makes frames."""

    parameters: int

    def prepare(self) -> None:
        """Do what comes before a frame and is not part of it: choose actions, begin anew."""

    def frame(self) -> Picture:
        """Make the next frame: (views, H, W, 3)."""


class Ours:
    """One rollout of shipped weights; its frame is the whole world, or every subject's own view cut out of that."""

    def __init__(self, weights: str, world: str, *, views: bool, engine: str = AUTO) -> None:
        folder = find_checkpoint(weights)
        network = load_network(folder)
        self.parameters = network.parameters_count
        self._rollout = BatchRollout(network, engine=engine)
        self._rollout.reset([load_scene(scene_paths(folder, world)[0])], [0])
        self._view = view_of(world) if views else None
        self._rng = np.random.default_rng(0)
        self._actions: Ints = np.zeros((1, self.spec.subjects), np.int64)

    @property
    def engine(self) -> str:
        """What runs the network."""
        return self._rollout.engine.name

    @property
    def spec(self) -> WorldSpec:
        """What this world is."""
        return self._rollout.spec

    def prepare(self) -> None:
        """Choose random actions."""
        self._actions = self._rng.integers(len(self.spec.actions), size=self._actions.shape)

    def frame(self) -> Picture:
        """(1, H, W, 3) the world, or (N, h, w, 3) the views."""
        step = self._rollout.step(self._actions)
        return step.frames if self._view is None else crop(step.frames, step.states, self._view)[0]


class Diamond:
    """``views`` players' pictures at once by simulusion's DIAMOND: U-Net in three steps, reward and end by LSTM."""

    def __init__(self, size: str, actions: int, views: int) -> None:
        networks = _peer("simulusion", "simulusion.world_model.diamond")
        config = importlib.import_module("simulusion.configs.diamond_config").DiamondConfig(**_DIAMOND[size])
        parts = networks.build_diamond_networks(config, actions, "cpu")
        self.parameters = parameters_of(parts[0], parts[2])
        self._model = networks.DiamondWorldModel(_Networks(config, *parts))
        frames = torch.zeros(views, config.num_conditioning_frames, 3, SIDE, SIDE)
        self._state = self._model.encode(frames)
        self._rng, self._many, self._views = np.random.default_rng(0), actions, views
        self._actions: Ints = np.zeros(views, np.int64)

    def prepare(self) -> None:
        """Choose random actions."""
        self._actions = self._rng.integers(self._many, size=self._views)

    def frame(self) -> Picture:
        """(views, 64, 64, 3)."""
        self._state = self._model.step(self._state, self._actions).state
        return _pixels(self._model.decode(self._state))


_DIAMOND: dict[str, dict[str, Any]] = {
    "default": {},
    "matched": {"diffusion_cond_dim": 64, "reward_res_blocks": 1, "reward_lstm_dim": 256},
}


class _Networks:
    """What ``DiamondWorldModel`` reads of a model."""

    def __init__(self, config: Any, diffusion: Any, sampler: Any, reward: Any) -> None:
        self.config, self.diffusion_model, self.sampler, self.reward_model = config, diffusion, sampler, reward


class Dreamer:
    """``views`` players' pictures at once by dreamer4: shortcut flow in four steps with its cache, reward and end."""

    def __init__(self, size: str, actions: int, views: int) -> None:
        library = _peer("dreamer4", "dreamer4")
        own = _DREAMER[size]
        alike = {name: own[name] for name in ("dim", "dim_latent")}
        tokenizer = library.VideoTokenizer(
            **alike, patch_size=8, image_height=SIDE, image_width=SIDE, lpips_loss_weight=0.0
        )  # with a perceptual loss it would download a network that generating does not use
        model = library.DynamicsWorldModel(**alike, video_tokenizer=tokenizer, num_discrete_actions=actions)
        self.parameters = parameters_of(model)
        self._dream = importlib.import_module("dreamer4.env").DynamicsWorldModelWrapper(model)
        self._rng, self._many, self._views, self._age = np.random.default_rng(0), actions, views, DREAM
        self._action = torch.zeros(0)

    def prepare(self) -> None:
        """Choose random actions; begin anew after ``DREAM`` frames."""
        if self._age == DREAM:
            self._dream.reset(batch_size=self._views)
            self._age = 0
        self._action = torch.from_numpy(self._rng.integers(self._many, size=(self._views, 1)))

    def frame(self) -> Picture:
        """(views, 64, 64, 3)."""
        self._age += 1
        return _pixels(self._dream.step(self._action)[0])


_DREAMER = {
    "default": {"dim": 512, "dim_latent": 64},  # of its command line, and of its README's world model
    "matched": {"dim": 32, "dim_latent": 16},
}


class Simulator:
    """The real world in one process; its frame is the whole world."""

    parameters = 0

    def __init__(self, world: str, seed: int = 0) -> None:
        self._world = make_world(world)
        self._rng, self._seed = np.random.default_rng(seed), seed
        self._ended = True

    def prepare(self) -> None:
        """Choose random actions; begin anew after an episode."""
        if self._ended:
            self._world.reset(seed=self._seed)
        spec = self._world.spec
        self._actions = self._rng.integers(len(spec.actions), size=spec.subjects)

    def frame(self) -> Picture:
        """(1, H, W, 3)."""
        observed = self._world.step(self._actions)
        self._ended = observed.ended
        return observed.frame[None]

    def close(self) -> None:
        """Free the simulator."""
        self._world.close()


def make_peer(name: str, size: str, actions: int, views: int) -> Contender:
    """Make one of ``PEERS`` in one of ``SIZES``, for so many actions and ``views`` players.

    Raises:
        MissingDependencyError: it is not installed.
    """
    return (Diamond if name == "simulusion" else Dreamer)(size, actions, views)


def parameters_of(*modules: torch.nn.Module) -> int:
    """Return how many numbers the modules learn, tokenizer and heads included."""
    return sum(p.numel() for module in modules for p in torch.nn.Module.parameters(module))


def _peer(name: str, module: str) -> Any:
    try:
        _import_torchvision()
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{name} can't be imported ({error}): pip install -e '.[bench]' 'torch=={torch.__version__}'"
        ) from error


def _import_torchvision() -> None:
    """Import torchvision even where its compiled operators do not load, as a CUDA build's beside a CPU build of torch.

    It then fails on two operators, of boxes, that no peer calls.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")


def _pixels(frames: torch.Tensor) -> Picture:
    """(B, 3, H, W) in [0, 1] -> (B, H, W, 3), rounded."""
    scaled = (frames.clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(0, 2, 3, 1).numpy())
