"""A policy that cooks in ``collaborative_cooking``: tomatoes into pots, soup into dishes, and dishes to the hatch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from actionparty.types import Observation, WorldSpec
from actionparty.worlds.kitchen import DISH, FULL, SOUP, TOMATO, Kitchen, held, lying, read_kitchen, read_pot
from actionparty.worlds.scripted import Cell, Goal, ScriptedPolicy, neighbours, reach

_WHIM, _TIDY = 0.03, 0.1
"""How often a subject interacts with anything at all instead of fetching what is missing; and, if nothing is missing,
takes something off a counter."""
_WAIT_AT = 2
"""Steps from a pot at which a subject with a dish waits for the soup, out of the way of others."""
_DETOUR, _NEAR = 1, 12
"""Steps that handing over a counter must save; steps from which somebody comes to take what is handed over."""
_FILLED = 4
"""Steps that a subject goes further to a pot for every tomato in it, so that pots get full one after the other."""
_WHATEVER = "whatever"
_UNSEEN = Kitchen(frozenset(), (), (), (), (), ())


@dataclass
class _Errand:
    """What a subject with empty hands goes to fetch, and from where, until its patience is out."""

    item: str = ""
    source: Cell = (0, 0)
    patience: int = 0


class CookingPolicy(ScriptedPolicy):
    """Let every subject fetch what is missing and bring it to where it is needed.

    Tomatoes are missing while a pot isn't full, dishes while it is; what others carry or fetch already is not missing.
    Where a subject can't reach the place that an item is needed at, or only by a longer way, it lays it on a counter
    from which somebody on the other side can bring it on.
    """

    def reset(self, spec: WorldSpec, seed: int) -> None:
        """Start an episode; the kitchen is read from its first frame."""
        super().reset(spec, seed)
        self._kitchen = _UNSEEN
        self._fields: dict[Cell, dict[Cell, int]] = {}
        self._walks: dict[Cell, dict[Cell, int]] = {}
        self._errands = [_Errand() for _ in range(spec.subjects)]

    def _look(self, observation: Observation) -> None:
        frame = observation.frame
        if self._kitchen is _UNSEEN:
            self._kitchen = read_kitchen(frame, self._cells)
            self._floor = self._kitchen.floor
        self._lying = lying(frame, self._kitchen.counters)
        self._pots = {cell: read_pot(frame, cell) for cell in self._kitchen.pots}
        self._held = [held(frame, cell) for cell in self._cells]
        full = sum(pot.full for pot in self._pots.values())
        self._needed = {TOMATO: sum(FULL - pot.tomatoes for pot in self._pots.values()), DISH: full, SOUP: 10**3}

    def _goal(self, i: int) -> Goal | None:
        item = self._held[i]
        if not item:
            return self._fetch(i)
        self._errands[i].item = ""
        return self._carry(i, item)

    def _carry(self, i: int, item: str) -> Goal | None:
        """Bring ``item`` to where it is needed, or to who can do so better, or put it away if nobody needs it."""
        targets = self._targets(item)
        place = self._handover(i, targets) or self._nearest(i, targets)
        if place is None:
            place = None if targets else self._nearest(i, self._spare_counters())
        elif item == DISH and place in self._pots and not self._pots[place].done:
            place = None if self._distance(i, place) <= _WAIT_AT else place
        return None if place is None else Goal(place, "interact")

    def _handover(self, i: int, targets: list[Cell]) -> Cell | None:
        """Return a free counter over which an item gets to a target on a shorter way, if somebody is near."""
        here = self._cells[i]
        most = self._onward(here, targets) - _DETOUR
        best, free = None, [cell for cell in self._kitchen.counters if cell not in self._lying]
        for counter in free if targets else ():
            if here in self._distances(counter):
                far = min(self._sides(counter), key=lambda side: self._onward(side, targets))
                ways = self._distance(i, counter) + self._onward(far, targets)
                if ways < most and (most == inf or self._helped(i, far)):
                    best, most = counter, ways
        return best

    def _helped(self, i: int, side: Cell) -> bool:
        """Return whether somebody with empty hands is near ``side``."""
        near = self._walk(side)
        free = (self._cells[j] for j, item in enumerate(self._held) if j != i and not item)
        return any(near.get(cell, inf) <= _NEAR for cell in free)

    def _onward(self, cell: Cell, targets: Iterable[Cell]) -> float:
        """Return the steps from ``cell`` to beside the nearest of ``targets``, infinite where there is no way."""
        return min((self._distances(target).get(cell, inf) for target in targets), default=inf)

    def _targets(self, item: str) -> list[Cell]:
        """Return where ``item`` is needed now: hatches, pots that want it, or pots that are done (or else cook)."""
        if item == SOUP:
            return list(self._kitchen.hatches)
        if item == TOMATO:
            return [cell for cell, pot in self._pots.items() if not pot.full]
        full = [cell for cell, pot in self._pots.items() if pot.full]
        return [cell for cell in full if self._pots[cell].done] or full

    def _spare_counters(self) -> list[Cell]:
        """Return free counters that aren't between two cells, or any that are free where there are none."""
        free = [cell for cell in self._kitchen.counters if cell not in self._lying]
        return [cell for cell in free if len(self._sides(cell)) == 1] or free

    def _fetch(self, i: int) -> Goal | None:
        errand = self._errands[i]
        errand.patience -= 1
        if errand.patience < 0 or not self._sensible(i, errand):
            errand = self._errands[i] = self._new_errand(i)
        return Goal(errand.source, "interact") if errand.item else None

    def _sensible(self, i: int, errand: _Errand) -> bool:
        if errand.item in ("", _WHATEVER):
            return bool(errand.item)
        return self._missing(i, errand.item) > 0 and errand.source in self._sources(i, errand.item)

    def _new_errand(self, i: int) -> _Errand:
        """Choose what to fetch: the nearest of what is missing, now and then anything."""
        chance = self._rng.random()
        if chance < _WHIM:
            return self._whim(i, self._kitchen.stations)
        options = []
        for item, hurry in ((TOMATO, 0), (DISH, 4 * any(pot.done for pot in self._pots.values())), (SOUP, 8)):
            if self._missing(i, item) > 0:
                sources = [cell for cell in self._sources(i, item) if self._cells[i] in self._distances(cell)]
                options += [(self._distance(i, cell) - hurry + 3 * self._rng.random(), item, cell) for cell in sources]
        if options:
            _, item, source = min(options)
            return _Errand(item, source, patience=20 + self._rng.randrange(20))
        return self._whim(i, tuple(self._lying)) if chance > 1 - _TIDY else _Errand()

    def _whim(self, i: int, places: tuple[Cell, ...]) -> _Errand:
        near = [cell for cell in places if self._cells[i] in self._distances(cell)]
        return _Errand(_WHATEVER, self._rng.choice(near), patience=12) if near else _Errand()

    def _missing(self, i: int, item: str) -> int:
        """Return how many more are needed than others carry and fetch, and than wait on counters for others to take."""
        others = [j for j in range(len(self._held)) if j != i]
        coming = sum(item in (self._held[j], self._errands[j].item) for j in others)
        waiting = 0 if self._delivers(i, item) else sum(lies == item for lies in self._lying.values())
        return self._needed[item] - coming - waiting

    def _sources(self, i: int, item: str) -> list[Cell]:
        """Return where ``i`` may get ``item``: where there always is some, or counters if it isn't there for others."""
        lie = [cell for cell, lies in self._lying.items() if lies == item and self._for_me(i, cell, item)]
        return lie + list({TOMATO: self._kitchen.tomatoes, DISH: self._kitchen.dishes}.get(item, ()))

    def _for_me(self, i: int, counter: Cell, item: str) -> bool:
        """Return whether ``i`` is on the right side of a counter: the way on is shorter from no other side."""
        targets = self._targets(item)
        onward = {side: self._onward(side, targets) for side in self._sides(counter)}
        mine = min(onward, key=lambda side: self._walk(side).get(self._cells[i], inf))
        return onward[mine] < inf and onward[mine] <= min(onward.values()) + _DETOUR

    def _delivers(self, i: int, item: str) -> bool:
        """Return whether ``i`` can reach the kind of place that ``item`` is brought to."""
        places = self._kitchen.hatches if item == SOUP else self._kitchen.pots
        return any(self._cells[i] in self._distances(place) for place in places)

    def _nearest(self, i: int, places: Iterable[Cell]) -> Cell | None:
        near = [place for place in places if self._cells[i] in self._distances(place)]
        return min(near, key=lambda place: self._distance(i, place) - _FILLED * self._tomatoes(place), default=None)

    def _tomatoes(self, place: Cell) -> int:
        return self._pots[place].tomatoes if place in self._pots else 0

    def _distance(self, i: int, place: Cell) -> int:
        return self._distances(place)[self._cells[i]]

    def _distances(self, place: Cell) -> dict[Cell, int]:
        """Return the steps from every cell, from which it can be reached, to the nearest cell beside ``place``."""
        if place not in self._fields:
            self._fields[place] = reach(self._floor, self._sides(place))
        return self._fields[place]

    def _walk(self, start: Cell) -> dict[Cell, int]:
        """Return the steps from ``start`` to every cell that can be reached."""
        if start not in self._walks:
            self._walks[start] = reach(self._floor, [start])
        return self._walks[start]

    def _sides(self, place: Cell) -> list[Cell]:
        return [cell for cell in neighbours(place) if cell in self._floor]
