"""Colours that stay apart for every kind of colour vision (after Okabe and Ito, 2008), in light and dark.

Colour never stands alone: a verdict has its word and its mark, a series its shape or its line style.
"""

from __future__ import annotations

_LIGHT = {
    "page": "#f5f6f8",
    "card": "#ffffff",
    "ink": "#14181d",
    "muted": "#56606c",
    "faint": "#87909c",
    "rule": "#dfe3e8",
    "grid": "#ebeef1",
    "band": "#f2f5f8",
    "candidate": "#0a6ab6",
    "baseline": "#6c7682",
    "pass": "#077a57",
    "fail": "#c2410c",
    "unsure": "#9a6700",
    "invalid": "#8b3d9c",
    "onstrong": "#ffffff",
}

_DARK = {
    "page": "#0d1117",
    "card": "#151b23",
    "ink": "#e9edf2",
    "muted": "#9fa9b5",
    "faint": "#717b88",
    "rule": "#2c343e",
    "grid": "#232a33",
    "band": "#1a222c",
    "candidate": "#5aaeee",
    "baseline": "#96a1ae",
    "pass": "#3fc08f",
    "fail": "#ff8a5c",
    "unsure": "#e2aa3e",
    "invalid": "#cb90e0",
    "onstrong": "#0d1117",
}

FONTS = (
    '-apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", Arial, sans-serif'
)


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


COLOURS = f":root{{color-scheme:light dark;{_variables(_LIGHT)}}}@media screen and (prefers-color-scheme:dark){{:root{{{_variables(_DARK)}}}}}"
"""CSS variables; paper is always light."""

MARKS = """
.picture text{font-family:var(--fonts);font-size:12px;fill:var(--ink);font-variant-numeric:tabular-nums}
.picture .muted{fill:var(--muted)} .picture .faint{fill:var(--faint)} .picture .small{font-size:11px}
.picture .strong{font-weight:600} .picture .axis{fill:none;stroke:var(--faint);stroke-width:1}
.picture .grid{stroke:var(--grid);stroke-width:1} .picture .band{fill:var(--band)}
.picture .threshold{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:5 3}
.picture .reference{stroke:var(--faint);stroke-width:1.25;stroke-dasharray:2 3}
.picture .candidate{fill:var(--candidate);stroke:var(--candidate)}
.picture .baseline{fill:var(--baseline);stroke:var(--baseline)}
.picture .pass{fill:var(--pass);stroke:var(--pass)} .picture .fail{fill:var(--fail);stroke:var(--fail)}
.picture .unsure{fill:var(--unsure);stroke:var(--unsure)}
.picture .invalid{fill:var(--invalid);stroke:var(--invalid)}
.picture .whisker{stroke-width:2;stroke-linecap:round}
.picture .dot{stroke:var(--card);stroke-width:1.5} .picture .hollow{fill:var(--card);stroke-width:2}
.picture .curve{fill:none;stroke-width:2.25;stroke-linejoin:round;stroke-linecap:round}
.picture .dashed{stroke-dasharray:5 4} .picture .area{stroke:none;fill-opacity:.14}
.picture .column{stroke:none;fill-opacity:.3}
.picture .cross{fill:none;stroke-width:2.5;stroke-linecap:round}
.picture .cell{stroke:none} .picture .onstrong{fill:var(--onstrong)}
.picture text.candidate,.picture text.baseline{stroke:none}
.backdrop{fill:var(--card)}
""".strip()
"""How the parts of a picture look."""
