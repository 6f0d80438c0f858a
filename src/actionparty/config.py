"""Frozen configuration values for every component, presets for model sizes, and their JSON form.

A model size is data: ``MODEL_PRESETS`` derives TINY, SMALL and BASE from one class by ``replace``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypeVar

from actionparty.errors import InvalidInputError, unknown_name

C = TypeVar("C", bound="ModelConfig | TrainConfig | RolloutConfig")


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the network; everything a checkpoint needs to be built again."""

    width: int = 128
    """Channels of a token."""
    head_width: int = 64
    """Channels of one attention head; a multiple of 4 (rotary pairs for x and for y)."""
    observe_layers: int = 3
    update_layers: int = 2
    render_layers: int = 3
    context: int = 2
    """Frames that Observe sees (K)."""
    memory: int = 8
    """Past states and actions of its own that a subject token carries."""
    rope_base: float = 100.0
    placement: bool = True
    """Add subject tokens to the features of the cell they stand on (the sharp form of the spatial bias)."""
    spatial_bias: bool = True
    """Subject tokens stand at their subjects: RoPE, placement and view. Without, learned slots tell them apart."""
    subject_tokens: bool = True
    """Each subject has a token with its own state, identity and action. Without, all actions make one vector."""
    staged: bool = True
    """Observe, update, render. Without, one joint flow of states and frame by as many blocks."""
    together: bool = True
    """The next states of all subjects are denoised together. Without, each on its own."""
    lasting_identity: bool = True
    """A subject's picture is the one given with the scene. Without, what the last frame shows where it stands."""
    rest_clock: bool = False
    """An embedding of how long each living subject has stayed as it is: some worlds let subjects act now and then."""
    palette: bool = False
    """Rendered cells are copied from the world's known tiles where one of them fits. Without, all are drawn."""
    deep_heads: bool = False
    """Rewards and ends are read by an MLP from what subjects saw and what became of them. Without, by a matrix."""
    window: int = 0
    """For large maps: cells see only those of their window, of so many a side, and all subjects. 0: cells see all."""
    registers: int = 8
    """With a ``window``: learned tokens that see everything, and are seen by every cell."""
    worlds: tuple[str, ...] = ()
    """Names with a learned world embedding; any other name shares the embedding of 'unknown'."""

    @property
    def places(self) -> bool:
        """Whether subject tokens are added to the cells they stand on."""
        return self.placement and self.bound

    @property
    def bound(self) -> bool:
        """Whether subject tokens are bound to places at all."""
        return self.spatial_bias and self.subject_tokens

    def __post_init__(self) -> None:
        object.__setattr__(self, "worlds", tuple(self.worlds))
        for name in ("width", "head_width", "observe_layers", "update_layers", "render_layers", "context", "memory"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"model config: {name} must be at least 1, but is {getattr(self, name)}.")
        if self.width % self.head_width or self.head_width % 4:
            raise InvalidInputError(
                f"model config: width {self.width} must be a multiple of head_width {self.head_width}, "
                "and head_width a multiple of 4."
            )
        if self.window < 0 or self.window == 1 or (self.window and (self.registers < 1 or not self.staged)):
            raise InvalidInputError(
                f"model config: window must be 0 or at least 2, but is {self.window}; it needs registers (at least 1, "
                f"but there are {self.registers}) and staged."
            )
        if self.memory < self.context:
            raise InvalidInputError(
                f"model config: memory {self.memory} must not be shorter than context {self.context}."
            )


SMALL = ModelConfig(rest_clock=True, palette=True, deep_heads=True)
MODEL_PRESETS: dict[str, ModelConfig] = {
    "tiny": replace(SMALL, width=32, head_width=16, observe_layers=1, update_layers=1, render_layers=1, memory=4),
    "small": SMALL,
    "base": replace(SMALL, width=384, head_width=64, observe_layers=6, update_layers=4, render_layers=4, context=4),
}


def model_preset(name: str) -> ModelConfig:
    """Return the model configuration called ``name``."""
    if name not in MODEL_PRESETS:
        raise unknown_name("model size", name, MODEL_PRESETS)
    return MODEL_PRESETS[name]


_SHARES = (
    "corrupt",
    "unroll",
    "event_share",
    "rare_share",
    "recolour",
    "world_dropout",
    "final_rate",
    "decay_share",
    "ema",
)


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Progress is counted in frames (one target frame = one), never in steps."""

    frames: int = 1_000_000
    """Target frames to learn from; the learning rate reaches its end here."""
    batch: int = 32
    """Most target frames in one batch; all of a batch are of one world."""
    batch_tokens: int = 0
    """Most cells and subjects in one batch, so that large worlds come in smaller batches; 0: no limit."""
    worlds_per_step: int = 1
    """Batches, each of one world, over which one optimiser step averages; a multiple of the number of processes."""
    learning_rate: float = 2e-3
    """Of AdamW; Muon's rate follows the same schedule."""
    muon_rate: float = 0.02
    final_rate: float = 0.05
    """Share of the learning rate that is left at the end."""
    warmup_frames: int = 3_200
    decay_share: float = 0.4
    """Last part of the run over which the learning rate falls linearly; constant before."""
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = 1.0
    ema: float = 0.998
    bf16: str = "auto"
    """Mixed precision: ``auto`` uses it where the processor computes in bfloat16 natively; ``on`` or ``off``."""
    compile: bool = False
    """Compile the transformer blocks (minutes of start-up, then about 1.4 times faster on a CPU)."""
    seed: int = 0
    context_noise: float = 0.1
    """Largest strength of the Gaussian noise on context frames (pixels are in [-1, 1])."""
    event_share: float = 0.15
    """Share of clips drawn from rows before which a subject is gone, where a world has any."""
    rare_share: float = 0.0
    """Share of clips drawn by rarity: rows with a reward, a life that ends or begins, or a rare change of a cell."""
    recolour: float = 0.0
    """Share of batches whose colour channels are exchanged, without their world's embedding: unseen colours."""
    corrupt: float = 0.5
    """Share of clips whose contexts are corrupted: subjects erased, doubled or displaced, cells overwritten."""
    unroll: float = 0.0
    """Share of batches whose last context frame is the model's own output."""
    world_dropout: float = 0.1
    """Share of clips trained without their world embedding."""
    render_cells: int = 64
    """Most changed cells of one frame that enter the frame loss (a random choice beyond that)."""
    state_weight: float = 0.4
    return_weight: float = 0.3
    """Of whether the subjects that are gone come back, averaged over those alone: it is rare."""
    frame_weight: float = 3.0
    tile_weight: float = 0.15
    """Of which known tile a rendered cell shows (cross-entropy)."""
    gate_weight: float = 1.0
    jump_weight: float = 0.1
    reward_weight: float = 0.05
    learn: str = "all"
    """``heads``: only the heads of rewards and ends are trained, all else stays as it is (a finish of minutes)."""
    chance_rows: int = 384
    """Rows of each world to which the odds of lives and rewards are fitted in the end; 0: none, they stay as said."""
    checkpoint_seconds: float = 120.0
    sample_power: float = 0.0
    """Worlds are drawn with odds (cells + subjects) ** -sample_power: above 0, small (cheap) frames come more often."""
    world_odds: Mapping[str, float] = field(default_factory=dict)
    """Factors on those odds, by world, for worlds that are harder than others; 1 where a world is not named."""

    def batch_of(self, cells: int, subjects: int) -> int:
        """Return how many frames with ``cells`` and ``subjects`` make one batch; at least 1."""
        if not self.batch_tokens:
            return self.batch
        return max(1, min(self.batch, self.batch_tokens // (cells + subjects)))

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))
        if self.bf16 not in ("auto", "on", "off"):
            raise InvalidInputError(f"train config: bf16 must be auto, on or off, but is {self.bf16!r}.")
        if self.learn not in ("all", "heads"):
            raise InvalidInputError(f"train config: learn must be all or heads, but is {self.learn!r}.")
        for name, least in (
            ("frames", 1),
            ("batch", 1),
            ("batch_tokens", 0),
            ("worlds_per_step", 1),
            ("render_cells", 1),
            ("chance_rows", 0),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise InvalidInputError(
                    f"train config: {name} must be a whole number from {least} on, but is {value!r}."
                )
        if not self.learning_rate > 0 or not self.muon_rate > 0:
            raise InvalidInputError(
                f"train config: learning_rate ({self.learning_rate}) and muon_rate ({self.muon_rate}) must be above 0."
            )
        odds = self.world_odds
        if not isinstance(odds, dict) or not all(0 <= factor < float("inf") for factor in odds.values()):
            raise InvalidInputError(f"train config: world_odds must map worlds to numbers from 0 on, but is {odds!r}.")
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:  # NaN fails too
                raise InvalidInputError(f"train config: {name} must be 0 to 1, but is {getattr(self, name)}.")
        if self.event_share + self.rare_share > 1:
            raise InvalidInputError(
                f"train config: event_share ({self.event_share}) and rare_share ({self.rare_share}) are more than all."
            )
        for name in (f.name for f in fields(self) if f.name.endswith("_weight")):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InvalidInputError(f"train config: {name} must be at least 0, but is {getattr(self, name)}.")


ENGINES = ("torch", "torch-bf16", "onnx", "onnx-int8", "openvino")
"""What can run a network while sampling (package ``engines``)."""
AUTO = "auto"
"""Stands for the fastest engine that is installed and exact."""
CAPACITY = 0.25
"""Share of the cells for which there is room in a step on a device, unless told otherwise (``ResidentRollout``)."""
MAX_STEPS = 1000
"""Steps after which an episode is truncated, unless told otherwise: the length of most of Melting Pot's."""


@dataclass(frozen=True)
class RolloutConfig:
    """How a rollout samples: at most ``update_steps`` + ``render_steps`` network calls after Observe."""

    update_steps: int = 2
    render_steps: int = 1
    gate_floor: float | None = None
    """A cell whose predicted probability of change is below this is copied exactly. None: 0.0003 where the weights know
    the chances of the world, 0.02 where they don't and small odds are not to be trusted."""
    gate_ceiling: float = 0.5
    """Above this a cell always changes; in between it changes with its probability (chance events need a sample)."""
    copy_tiles: bool = True
    """Copy known tiles where the network says so (``ModelConfig.palette``); False: all rendered cells are drawn."""
    snap: bool = False
    """Replace each rendered cell by the nearest known tile of the world."""
    exclusive: bool = True
    """Two living subjects never share a cell: the one that stayed keeps it, else one of them is drawn by lot."""
    engine: str = "torch"
    """What runs the network: one of ``ENGINES``, or ``AUTO``. Part of how frames came about, to the last bit."""

    def __post_init__(self) -> None:
        if self.engine not in (*ENGINES, AUTO):
            raise unknown_name("engine", self.engine, (*ENGINES, AUTO))
        if self.update_steps < 1 or self.render_steps < 1:
            raise InvalidInputError("rollout config: update_steps and render_steps must be at least 1.")


def to_json(config: ModelConfig | TrainConfig | RolloutConfig) -> dict[str, Any]:
    """Return ``config`` as plain JSON values."""
    return asdict(config)


def from_json(cls: type[C], values: dict[str, Any]) -> C:
    """Build a ``cls`` from JSON values; unknown keys are an error, never ignored.

    Raises:
        UnknownNameError: a key that is no setting; the nearest are suggested.
        InvalidInputError: a value out of range or of the wrong type.
    """
    known = {f.name for f in fields(cls)}
    for key in values:
        if key not in known:
            raise unknown_name(f"{cls.__name__} setting", key, known)
    try:
        return cls(**values)
    except TypeError as error:
        raise InvalidInputError(f"{cls.__name__}: a setting has the wrong type ({error}).") from error
