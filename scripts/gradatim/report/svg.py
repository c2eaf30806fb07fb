"""SVG as text: elements, escaped; and a picture that a screen reader can announce.

Colours and fonts come from classes (``palette.py``), so that a picture follows light, dark and print.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from gradatim.errors import printable

_NAMES = {"class_": "class", "view_box": "viewBox"}


def element(name: str, *children: str, **attributes: str | float | None) -> str:
    """One element; ``children`` are markup, attributes are escaped, one of None is left out."""
    written = "".join(
        f' {_NAMES.get(key, key.replace("_", "-"))}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(children)
    return f"<{name}{written}>{inner}</{name}>" if inner else f"<{name}{written}/>"


def content(text: str) -> str:
    """Text as markup."""
    return escape(printable(text), quote=False)


def label(x: float, y: float, text: str, kind: str = "", anchor: str = "start", **more: str | float) -> str:
    """A line of text; ``kind`` names classes of the palette."""
    return element("text", content(text), x=x, y=y, class_=kind or None, text_anchor=_anchor(anchor), **more)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def rectangle(
    x: float, y: float, width: float, height: float, kind: str, hint: str = "", **more: float
) -> str:
    return element(
        "rect", title(hint), x=x, y=y, width=max(width, 0.0), height=max(height, 0.0), class_=kind, **more
    )


def circle(x: float, y: float, radius: float, kind: str, hint: str = "") -> str:
    return element("circle", title(hint), cx=x, cy=y, r=radius, class_=kind)


def polyline(points: Iterable[tuple[float, float]], kind: str) -> str:
    return element("polyline", points=" ".join(f"{_number(x)},{_number(y)}" for x, y in points), class_=kind)


def polygon(points: Iterable[tuple[float, float]], kind: str) -> str:
    return element("polygon", points=" ".join(f"{_number(x)},{_number(y)}" for x, y in points), class_=kind)


def diamond(x: float, y: float, kind: str) -> str:
    return polygon([(x, y - 7), (x + 7, y), (x, y + 7), (x - 7, y)], kind)


def group(*children: str, hint: str = "") -> str:
    """Elements that belong together; ``hint`` is shown when the pointer rests on them."""
    return element("g", title(hint), *children)


def title(hint: str) -> str:
    """What is shown when the pointer rests on the element around it; nothing for an empty hint."""
    return element("title", content(hint)) if hint else ""


def picture(name: str, width: float, height: float, heading: str, description: str, *children: str) -> str:
    """A whole picture.

    Args:
        name: unique on the page, for the ids that tie heading and description to the picture.
        width, height: natural size in CSS pixels; the picture shrinks with its container.
        heading, description: read out in place of the picture.
    """
    return element(
        "svg",
        element("title", content(heading), id=f"{name}-title"),
        element("desc", content(description), id=f"{name}-desc"),
        *children,
        view_box=f"0 0 {_number(width)} {_number(height)}",
        width=width,
        height=height,
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
        class_="picture",
    )


def _anchor(anchor: str) -> str | None:
    return None if anchor == "start" else anchor


def _value(value: str | float) -> str:
    return escape(printable(value)) if isinstance(value, str) else _number(value)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
