"""What a subject sees of its world: Melting Pot's windows of cells, as a table, so that they are known without it.

``tests/worlds/test_views.py`` compares the table with the sources of Melting Pot.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch

from actionparty.errors import InvalidInputError


@dataclass(frozen=True)
class View:
    """A window of cells around a subject that faces up in it.

    Raises:
        InvalidInputError: a number of cells below 0.
    """

    left: int = 5
    right: int = 5
    ahead: int = 9
    behind: int = 1
    wraps: bool = False
    """Whether who looks past an edge of the map sees its other side; where not, there is nothing to see."""

    def __post_init__(self) -> None:
        if min(self.left, self.right, self.ahead, self.behind) < 0:
            raise InvalidInputError(f"a view reaches 0 or more cells in each direction, but got {self}.")

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) in cells."""
        return self.ahead + 1 + self.behind, self.left + 1 + self.right


_NEAR = ("collaborative_cooking__*", "*_in_the_matrix__repeated", "*_in_the_matrix__one_shot")
_WRAPPED = ("allelopathic_harvest__open", "territory__rooms")


def view_of(world: str) -> View:
    """Return what a subject of a substrate sees; in any other world what it sees in most substrates."""
    if any(fnmatch(world, pattern) for pattern in _NEAR):
        return View(left=2, right=2, ahead=3, behind=1)
    return View(wraps=world in _WRAPPED)
