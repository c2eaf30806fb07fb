"""Layers by what the answers lose when one alone takes a form, in the order of the model."""

from __future__ import annotations

from collections.abc import Sequence

from gradatim.evidence.trial import Sensitivity
from gradatim.report.pictures import axes
from gradatim.report.scale import Scale
from gradatim.report.svg import circle, diamond, group, label, line, picture, polyline
from gradatim.report.text import one_line, width_of

WIDTH = 560
_ROW = 22
_TOP, _BOTTOM = 46, 30
_WORST = 62
_LEAST, _MOST = 1e-7, 1.0
SHOWN = 24

_KINDS = (
    ("static int8", ("static",)),
    ("dynamic int8", ("dynamic",)),
    ("8-bit weights", ("blocks8", "stored8", "rows8")),
    ("4-bit weights", ("blocks4", "rows4")),
)
"""What is drawn, and which form of a node stands for it: the first that it can take."""


def draw_sensitivities(nodes: Sequence[Sensitivity]) -> str:
    """The ``SHOWN`` layers that lose most, from the first layer to the last; empty when nothing was measured."""
    worst = sorted(nodes, key=_worst, reverse=True)[:SHOWN]
    shown = [node for node in nodes if node in worst and _drawn(node)]
    if not shown:
        return ""
    losses = [loss for node in shown for loss in _drawn(node).values()]
    low = min(max(min((loss for loss in losses if loss > 0), default=_LEAST), _LEAST), _MOST / 2)
    high = min(max(*losses, 2 * low), _MOST)
    left = min(max(width_of(_tail(node.node), 12) for node in shown) + 14, 224.0)
    x = Scale(low / 1.5, high * 1.5, left + 8, WIDTH - _WORST - 8, logarithmic=True)
    foot = _TOP + _ROW * len(shown)
    parts = [axes.bottom(x, _percent, foot, _TOP - 8), _legend(shown)]
    parts += [_row(node, _TOP + _ROW * (i + 0.5), x, left) for i, node in enumerate(shown)]
    parts.append(label(WIDTH, _TOP - 12, "at most", "muted small", "end"))
    first = worst[0]
    told = f"{one_line(first.node)} is the most sensitive: it loses up to {_share(_worst(first))} of what the outputs vary."
    if len(nodes) > len(shown):
        told += f" {len(shown)} of {len(nodes)} layers are shown."
    return picture("sensitivities", WIDTH, foot + _BOTTOM, "Sensitivity of the layers by form", told, *parts)


def _drawn(node: Sensitivity) -> dict[str, float]:
    """Kind -> loss."""
    found = ((kind, next((form for form in forms if form in node.losses), "")) for kind, forms in _KINDS)
    return {kind: node.losses[form] for kind, form in found if form}


def _worst(node: Sensitivity) -> float:
    return max(_drawn(node).values(), default=0.0)


def _row(node: Sensitivity, y: float, x: Scale, left: float) -> str:
    drawn = _drawn(node)
    places = [x(loss) for loss in drawn.values()]
    parts = [
        label(left, y + 4, _tail(node.node), "", "end"),
        line(min(places), y, max(places), y, "grid"),
        *(_mark(kind, x(loss), y) for kind, loss in drawn.items()),
        label(WIDTH, y + 4, _share(_worst(node)), "small", "end"),
    ]
    told = ", ".join(f"{kind} {_share(loss)}" for kind, loss in drawn.items())
    return group(*parts, hint=f"{one_line(node.node)} ({one_line(node.operator, 40)}): {told}")


def _mark(kind: str, x: float, y: float) -> str:
    """Each kind has a shape of its own, so that none depends on colour."""
    if kind == "static int8":
        return circle(x, y, 5, "candidate dot")
    if kind == "dynamic int8":
        return circle(x, y, 5, "candidate hollow")
    if kind == "8-bit weights":
        return diamond(x, y, "baseline hollow")
    lines = [[(x - 4, y - 4), (x + 4, y + 4)], [(x - 4, y + 4), (x + 4, y - 4)]]
    return "".join(polyline(each, "baseline cross") for each in lines)


def _legend(shown: Sequence[Sensitivity]) -> str:
    present = {kind for node in shown for kind in _drawn(node)}
    parts, at = [], 0.0
    for kind, _ in _KINDS:
        if kind in present:
            parts += [_mark(kind, at + 7, 12), label(at + 20, 16, kind, "muted small")]
            at += 44 + width_of(kind, 11)
    return group(*parts)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %"


def _share(loss: float) -> str:
    return "everything" if loss >= 1 else _percent(loss) if loss >= _LEAST else "nothing"


def _tail(name: str) -> str:
    """The end of a layer's name, by which layers differ."""
    text = one_line(name)
    while width_of(text, 12) > 204 and len(text) > 2:
        text = "…" + text[2:]
    return text
