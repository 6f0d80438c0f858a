"""HTML that is escaped by construction: a child or an attribute is text unless ``tag`` made it. Knows no report."""

from __future__ import annotations

import re
from html import escape

_VOID = frozenset({"img", "meta"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(element: str, /, *children: str | None, **attributes: str | float | bool | None) -> Markup:
    """Return an element; plain text is escaped, None is left out.

    Attributes are written with hyphens for underscores (``class_`` is ``class``): True as a bare name, False and None
    not at all.
    """
    opening = f"<{element}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    return Markup(opening if element in _VOID else f"{opening}{join(*children)}</{element}>")


def join(*children: str | None) -> Markup:
    """Return children one after another, plain text escaped."""
    return Markup("".join(c if isinstance(c, Markup) else escape(c) for c in children if c is not None))


def breakable(name: str) -> Markup:
    """Return a long name that a line may break after its underscores."""
    return Markup(re.sub("(_+)", r"\1<wbr>", escape(name)))


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
