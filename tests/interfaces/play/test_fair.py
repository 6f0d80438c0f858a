from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest

from actionparty.interfaces.play.fair import BEHIND_SECONDS, LATE_SECONDS, FairLine, Owner, Turn


@dataclass
class Player:
    """A room that wants a step every ``1 / hz`` seconds, each of which takes ``cost`` seconds."""

    owner: Owner
    hz: float
    cost: float
    due: float = 0.0
    waits: bool = False


@dataclass
class Shop:
    """Some workers that serve players, on a clock of its own."""

    players: list[Player]
    workers: int = 2
    now: float = 0.0
    line: FairLine[Player] = field(default_factory=FairLine)
    steps: Counter[Owner] = field(default_factory=Counter)
    running: list[tuple[float, Turn[Player]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.line = FairLine(self.workers)

    def run(self, seconds: float) -> None:
        """Let time pass, by the millisecond."""
        for millisecond in range(round(1000 * self.now), round(1000 * (self.now + seconds))):
            self.now = millisecond / 1000
            for end, turn in [each for each in self.running if each[0] <= self.now]:
                self.running.remove((end, turn))
                self.line.done(turn, turn.what.cost)
                turn.what.waits, turn.what.due = False, max(turn.what.due + 1 / turn.what.hz, self.now)
                self.steps[turn.owner] += 1
            for player in self.players:
                if not player.waits and player.due <= self.now:
                    player.waits = True
                    self.line.push(player.owner, player, self.now)
            while len(self.running) < self.workers and (next_turn := self.line.pop(self.now)):
                self.running.append((self.now + next_turn.what.cost, next_turn))


def rooms(opener: str, count: int, hz: float, cost: float) -> list[Player]:
    return [Player(Owner(opener, f"{opener}{i}"), hz, cost) for i in range(count)]


@pytest.mark.parametrize("cost", [0.06, 0.9])
def test_fifteen_fast_rooms_of_one_opener_do_not_slow_the_room_of_another(cost: float) -> None:
    """Not even where one step of theirs takes a second: some worker is always free of them."""
    coins = Player(Owner("Bob", "coins"), 8, 0.015)
    shop = Shop([*rooms("Mallory", 15, 30, cost), coins])
    shop.run(20)
    assert shop.steps[coins.owner] / 20 == pytest.approx(8, rel=0.1)
    mine = [shop.steps[player.owner] for player in shop.players[:-1]]
    assert sum(mine) * cost > 0.9 * 20, "Mallory has the other worker"
    assert max(mine) - min(mine) <= 1, "rooms of one opener share alike"


def test_openers_get_the_same_time_whatever_their_rooms_cost() -> None:
    shop = Shop([*rooms("A", 15, 30, 0.06), *rooms("B", 3, 1000, 0.01), *rooms("C", 4, 1000, 0.02)], workers=1)
    shop.run(30)
    seconds: Counter[str] = Counter()
    for player in shop.players:
        seconds[player.owner.opener] += round(1000 * player.cost) * shop.steps[player.owner]
    assert max(seconds.values()) - min(seconds.values()) <= 120, seconds


def test_of_one_opener_the_cheap_room_does_not_wait_for_the_dear_ones() -> None:
    """People behind one address, as on one machine, share as rooms."""
    coins = Player(Owner("local", "coins"), 8, 0.015)
    shop = Shop([*rooms("local", 4, 30, 0.06), coins])
    shop.run(20)
    assert shop.steps[coins.owner] / 20 == pytest.approx(8, rel=0.1)
    assert min(shop.steps.values()) * 0.06 > 0.9 * 20 * 2 / 5, "alone they have all workers"


def test_who_was_away_has_saved_nothing_up() -> None:
    late, busy = rooms("late", 1, 1000, 0.02)[0], rooms("busy", 1, 1000, 0.02)[0]
    shop = Shop([busy], workers=1)
    shop.run(60)
    shop.players.append(late)
    late.due = shop.now
    before = shop.steps[busy.owner]
    shop.run(4)
    assert shop.steps[late.owner] == pytest.approx(shop.steps[busy.owner] - before, abs=2)


def test_it_is_behind_while_turns_come_late_and_some_seconds_longer() -> None:
    line: FairLine[str] = FairLine()
    line.push(Owner("A", "a"), "first", 0.0)
    line.push(Owner("A", "b"), "second", 0.0)
    assert line.pop(LATE_SECONDS / 2) is not None
    assert not line.behind(LATE_SECONDS / 2)
    assert line.pop(2 * LATE_SECONDS) is not None
    assert line.behind(2 * LATE_SECONDS)
    assert not line.behind(2 * LATE_SECONDS + BEHIND_SECONDS)
    assert line.pop(9.0) is None
    assert len(line) == 0


def test_what_waits_may_be_chosen_from_and_keeps_its_order_in_a_room() -> None:
    line: FairLine[int] = FairLine()
    for number in (1, 2, 4):
        line.push(Owner("A", "a"), number, 0.0)
    line.push(Owner("B", "b"), 6, 0.0)
    even = [line.pop(0.0, lambda number: number % 2 == 0) for _ in range(2)]
    assert [turn and turn.what for turn in even] == [6, None], "no room's work overtakes its own"
    rest = [line.pop(0.0) for _ in range(3)]
    assert [turn and turn.what for turn in rest] == [1, 2, 4]


def test_it_forgets_who_is_gone() -> None:
    line: FairLine[int] = FairLine()
    for i in range(5000):  # one that is always there, and another one each time
        line.push(Owner("stays", "a"), i, float(i))
        line.push(Owner(f"visitor {i}", f"room {i}"), i, float(i))
        turns = [line.pop(float(i)), line.pop(float(i))]
        line.push(Owner("stays", "b"), i, float(i))
        for turn in turns:
            assert turn is not None
            line.done(turn, 0.01)
        assert len(line._rooms) < 600
        assert len(line._openers._used) < 600
        last = line.pop(float(i))
        assert last is not None
        line.push(Owner("stays", "c"), i, float(i))
        line.done(last, 0.01)
    while turn := line.pop(5000.0):
        line.done(turn, 0.01)
    assert not line._rooms, "where nobody waits, nothing is owed"
