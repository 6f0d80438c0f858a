"""ActionParty: a multi-subject video world model. From one picture and one action per subject, the next frame.

The way through the house: worlds -> data -> model -> training -> rollout -> environment -> performance -> evaluation ->
interfaces. Public names are imported on first use, so that ``import actionparty`` loads neither torch nor a simulator.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from actionparty.threads import calm_threads
from actionparty.types import Episode, Observation, Scene, SubjectStates, World, WorldSpec

if TYPE_CHECKING:
    from actionparty.environment.make import env, tensor_env, vector_env
    from actionparty.environment.resident import ResidentRollout
    from actionparty.environment.vector import VectorRollout
    from actionparty.rollout.generated_world import GeneratedWorld, generated_world, load_rollout
    from actionparty.rollout.rollout import BatchRollout
    from actionparty.rollout.scenes import load_scene, save_scene
    from actionparty.worlds.catalogue import make_world, world_names

_HOMES = {
    "BatchRollout": "actionparty.rollout.rollout",
    "ResidentRollout": "actionparty.environment.resident",
    "VectorRollout": "actionparty.environment.vector",
    "env": "actionparty.environment.make",
    "tensor_env": "actionparty.environment.make",
    "vector_env": "actionparty.environment.make",
    "GeneratedWorld": "actionparty.rollout.generated_world",
    "generated_world": "actionparty.rollout.generated_world",
    "load_rollout": "actionparty.rollout.generated_world",
    "load_scene": "actionparty.rollout.scenes",
    "make_world": "actionparty.worlds.catalogue",
    "save_scene": "actionparty.rollout.scenes",
    "world_names": "actionparty.worlds.catalogue",
}

__all__ = [
    "BatchRollout",
    "Episode",
    "GeneratedWorld",
    "Observation",
    "ResidentRollout",
    "Scene",
    "SubjectStates",
    "VectorRollout",
    "World",
    "WorldSpec",
    "env",
    "generated_world",
    "load_rollout",
    "load_scene",
    "make_world",
    "save_scene",
    "tensor_env",
    "vector_env",
    "world_names",
]


calm_threads()


def __getattr__(name: str) -> Any:
    """Import a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'actionparty' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
