"""Limits on what clients may do: how often, from where, and with which key. Knows no sockets; time is an argument."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from actionparty.errors import InvalidInputError

RATE, BURST = 60.0, 120.0
"""Messages per second of one client, and how many at once."""
PATIENCE = 600
"""Messages over the rate after which a client is put out."""
AGENTS = "agents"
"""As which address agents over MCP count, all together."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Bucket:
    """A token bucket: ``BURST`` messages at once, ``RATE`` a second."""

    def __init__(self, now: float, rate: float = RATE, burst: float = BURST) -> None:
        self._rate, self._burst = rate, burst
        self._left, self._at = burst, now
        self.refused = 0

    def take(self, now: float) -> bool:
        """Return whether one more message may come now."""
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            self.refused += 1
            return False
        self._left -= 1
        return True


@dataclass(frozen=True)
class Limits:
    """How much there may be at once: of the whole server, and of one address (``household``)."""

    rooms: int = 16
    people: int = 300
    rooms_each: int = 5
    """No three addresses fill a server, and people who share one still have rooms for sixteen each."""
    people_each: int = 80
    """More than a school class behind one address; fewer than fit into a room, which nobody can so fill alone."""

    def __post_init__(self) -> None:
        """Raise ``InvalidInputError`` where nobody could play."""
        if min(self.rooms, self.people, self.rooms_each, self.people_each) < 1:
            raise InvalidInputError("at least one room and one connection have to be allowed.")


def household(host: str | None) -> str:
    """Return as what the address ``host`` counts: an IPv6 network of 64 bits, which one line has, is one address."""
    try:
        address = ipaddress.ip_address((host or "").partition("%")[0])
    except ValueError:
        return host or ""
    if isinstance(address, ipaddress.IPv4Address):
        return "local" if address.is_loopback else str(address)
    if address.ipv4_mapped is not None:
        return household(str(address.ipv4_mapped))
    return "local" if address.is_loopback else str(ipaddress.ip_network((address, 64), strict=False))


@dataclass(frozen=True)
class Door:
    """Who may come in. Without a ``key`` only this machine may, and only under its own names."""

    key: str | None = None

    def host_allowed(self, host: str) -> bool:
        """Return whether a request to ``host`` (the Host header) is meant for this server.

        A page elsewhere can point a name of its own at this machine (DNS rebinding); its requests then carry that name.
        """
        return self.key is not None or _name(host) in LOOPBACK

    def origin_allowed(self, headers: Mapping[str, str]) -> bool:
        """Return whether the page that asks came from this server; programs send no Origin and may ask."""
        origin = headers.get("origin")
        return origin is None or _authority(origin) == headers.get("host", "").lower()

    def key_fits(self, given: str | None) -> bool:
        """Return whether ``given`` opens the door."""
        return self.key is None or hmac.compare_digest(self.key.encode(), (given or "").encode())


def _name(host: str) -> str:
    try:
        return "" if "@" in host else urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _authority(origin: str) -> str:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return ""
    return parts.netloc.lower() if parts.scheme in ("http", "https") else ""
