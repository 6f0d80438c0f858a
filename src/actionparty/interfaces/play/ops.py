"""What an edit of a scene is made of, as it travels: operations, each valid or refused. Knows no scene."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from actionparty.types import MAX_SUBJECTS

Subject = Annotated[int, Field(ge=0, lt=MAX_SUBJECTS)]
Cell = Annotated[int, Field(ge=0, le=255)]


class Strict(BaseModel):
    """A value from outside: no unknown fields, nothing converted, only finite numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Move(Strict):
    """Put a subject on another cell."""

    op: Literal["move"]
    subject: Subject
    x: Cell
    y: Cell


class Face(Strict):
    """Turn a subject."""

    op: Literal["face"]
    subject: Subject
    facing: Annotated[int, Field(ge=0, le=3)]


class Add(Strict):
    """Add a subject."""

    op: Literal["add"]
    x: Cell
    y: Cell


class Remove(Strict):
    """Take a subject out of the scene."""

    op: Literal["remove"]
    subject: Subject


class Paint(Strict):
    """Put a tile of the world's palette on a cell."""

    op: Literal["paint"]
    x: Cell
    y: Cell
    tile: Annotated[int, Field(ge=0, lt=65536)]


Op = Annotated[Move | Face | Add | Remove | Paint, Field(discriminator="op")]
