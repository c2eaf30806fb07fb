"""What was measured as OpenMetrics text, from which a merge request shows what changed.

Format: https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

import re

from gradatim.report.model import Report


def render_metrics(report: Report) -> str:
    """One line a number of the chosen form: ``recall{where="class=8"} 0.98``; the baseline's are those of its own run."""
    lines: dict[str, float] = {}
    for found in report.measurements:
        if found.variant == report.chosen and found.value is not None:
            name = re.sub(r"\W", "_", f"gradatim_{found.name}", flags=re.ASCII)
            where = re.sub(r'(["\\])', r"\\\1", found.where or "").replace("\n", "\\n")
            lines.setdefault(f'{name}{{where="{where}"}}' if where else name, found.value)
    return "".join(f"{name} {value!r}\n" for name, value in sorted(lines.items())) + "# EOF\n"
