"""Pictures of what a user sees: ``python docs/screens.py FOLDER`` makes them of the demo, and the README's with them.

The terminal at 80 and 60 columns; the report, with the history of its versions, and the report of the iteration at 1280 and 390
pixels, light and dark. Needs Chromium.
"""

from __future__ import annotations

import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

from rich.console import Console
from rich.text import Text

TOP = Path(__file__).resolve().parents[1]
README_HEIGHT = 1560

_TERMINAL = {
    "run": ["run", "--force", "--until", "gate"],
    "status": ["status"],
    "diff": ["diff", "v1.0.0", "v1.1.0"],
    "plan": ["gate", "--plan"],
    "history": ["history"],
    "iterate": ["iterate"],
}
_PAGE = """<!doctype html><meta charset="utf-8"><style>{stylesheet} body {{margin: 0; padding: 14px 18px; color: {foreground};
background: {background}; width: max-content}} pre {{font: 14px/1.35 "DejaVu Sans Mono", monospace; margin: 0}}</style>
<pre>{code}</pre>"""
_MEASURE = "<script>document.title = document.body.offsetHeight + ' ' + document.body.offsetWidth</script>"


def main(folder: Path) -> None:
    """Run the demo, show it, take the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        demo = Path(scratch) / "demo"
        shown = {"demo": _shown([str(demo)], Path(scratch), 80, "demo")}
        for name, words in _TERMINAL.items():
            shown |= {f"{name}-{columns}": _shown(words, demo / "digits", columns) for columns in (80, 60)}
        for name, text in shown.items():
            _shoot(_terminal(text), folder / f"{name}.png")
        report, iteration = (
            (demo / f"digits/.gradatim/{name}.html").read_text(encoding="utf-8")
            for name in ("report", "iteration")
        )
        pages = {"report": report, "versions": _versions(report), "iteration": iteration}
        for name, width, shade in product(pages, (1280, 390), ("light", "dark")):
            _shoot(pages[name], folder / f"{name}-{width}-{shade}.png", width=width, dark=shade == "dark")
        _shoot(report, TOP / "docs/report.png", width=1280, most=README_HEIGHT)


def _versions(report: str) -> str:
    """The report with nothing but its history over the versions, which is far down."""
    (history,) = re.findall(r"<section[^>]*>\s*<h2>Over the versions</h2>.*?</section>", report, re.DOTALL)
    return f"{report.partition('<body')[0]}<body><main>{history}</main></body></html>"


def _shown(words: list[str], folder: Path, columns: int, command: str = "") -> str:
    """What a command prints on a terminal of this width, with its colours."""
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"}
    line = [sys.executable, "-m", "gradatim", *([command] if command else []), *words]
    mine, theirs = pty.openpty()
    with subprocess.Popen(
        line, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as running:
        os.close(theirs)
        said = b""
        try:
            while part := os.read(mine, 65536):
                said += part
        except OSError:  # the other end is closed
            pass
        running.wait()
    os.close(mine)
    return f"$ gradatim {command or ' '.join(words)}\n{_settled(said.decode())}"


def _settled(said: str) -> str:
    """What stays on the screen: lines that were erased, as progress is, are gone."""
    lines = [""]
    for part in re.split(r"(\x1b\[(?![0-9;]*m)[0-9;?]*[A-Za-z]|\r?\n|\r)", said):
        if part.endswith("\n"):
            lines.append("")
        elif part == "\x1b[2K":
            lines[-1] = ""
        elif part == "\x1b[1A" and len(lines) > 1:
            lines.pop()
        elif part != "\r" and not re.match(r"\x1b\[(?![0-9;]*m)", part):
            lines[-1] += part
    return "\n".join(lines)


def _terminal(text: str) -> str:
    """A page that shows text with the colours of a terminal."""
    console = Console(record=True, width=200, file=io.StringIO(), legacy_windows=False)
    console.print(Text.from_ansi(text), soft_wrap=True)
    return console.export_html(code_format=_PAGE)


def _shoot(
    page: str, picture: Path, *, width: int | None = None, dark: bool = False, most: int | None = None
) -> None:
    """A picture of a page, or of its first ``most`` pixels; as wide as it is where no width is given."""
    page = re.sub(r"<meta http-equiv=.Content-Security-Policy.[^>]*>", "", page)
    source = picture.with_suffix(".html")
    source.write_text(page + _MEASURE, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    flags += [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("Chromium is not installed: apt install chromium")

    def look(*more: str, high: int = 800) -> str:
        size = f"--window-size={width or 1280},{high}"
        line = [chromium, *flags, size, *more, source.as_uri()]
        return subprocess.run(line, capture_output=True, text=True, check=True, timeout=120).stdout

    high, wide = map(int, re.findall(r"<title>(\d+) (\d+)</title>", look("--dump-dom"))[0])
    width = width or wide
    look(f"--screenshot={picture}", high=min(high, most or high))
    source.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
