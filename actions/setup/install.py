"""Install the kit at its own commit into an environment of its own, and put that on PATH for the steps that follow.

Everything but the kit itself and the user's own requirements comes from the locks beside this file, with hashes; the kit is the
commit of this very action, built with what the locks name. torch comes without CUDA unless `gpu` is among the extras, which a plan
names for the jobs on a GPU alone. Where GRADATIM_KIT is set and empty nothing is installed: the runner holds the kit.

Standard library only: this runs before anything is installed. Inputs come by environment: EXTRAS, REQUIREMENTS, CACHED.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

KIT = Path(__file__).resolve().parents[2]
LOCKS = Path(__file__).resolve().parent / "locks"


def main() -> None:
    if os.environ.get("GRADATIM_KIT") == "":
        use_what_is_there()
        return
    began = time.monotonic()
    if sys.version_info < (3, 10):  # noqa: UP036 (whatever python3 the runner has)
        found = ".".join(map(str, sys.version_info[:2]))
        stop(
            f"gradatim needs Python 3.10 or newer, the runner has {found}. Use actions/setup-python before it."
        )
    extras = os.environ.get("EXTRAS", "").replace(" ", "")
    if not re.fullmatch(r"[a-z0-9,-]*", extras):
        stop("The input `extras` takes names and commas, as in `onnx,test`.")
    requirements = os.environ.get("REQUIREMENTS", "")
    if requirements and not Path(requirements).is_file():
        stop(f"There is no file {requirements}, which the input `requirements` names.")
    content = Path(requirements).read_bytes() if requirements else b""
    key = hashlib.sha256(repr((str(KIT), sorted(extras.split(",")), content)).encode()).hexdigest()[:16]
    environment = Path(os.environ["RUNNER_TEMP"]) / f"gradatim-{key}"
    binaries = environment / ("Scripts" if os.name == "nt" else "bin")
    done = environment / "complete"
    if not done.exists():
        say(f"::group::Install gradatim[{extras}]")
        installed = install(environment, binaries, extras, requirements)
        say("::endgroup::")
        if not installed:
            stop("The kit could not be installed; the reason stands above.")
        done.touch()
        say(f"Installed gradatim[{extras}] in {time.monotonic() - began:.1f} s.")
    with Path(os.environ["GITHUB_PATH"]).open("a", encoding="utf-8") as path:
        path.write(f"{binaries}\n")


def use_what_is_there() -> None:
    """Where the caller says `kit: ""`, the runner or the container holds the kit."""
    found = shutil.which("gradatim")
    if not found:
        stop(
            'The caller says `kit: ""`, and there is no gradatim on PATH here. Install the kit in the image or on the runner.'
        )
    say(f"Uses {found}, which was here already.")


def install(environment: Path, binaries: Path, extras: str, requirements: str) -> bool:
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", environment], check=True)
    pip = [find_uv(environment), "pip", "install", "--quiet", "--python", str(binaries / "python")]
    pip += [] if os.environ.get("CACHED") == "true" else ["--no-cache"]
    # hashes decide what is taken, so that it does not matter which index has a file first
    locked = ["--require-hashes", "--index-strategy", "unsafe-best-match"]
    own = ["--no-deps", "--no-build-isolation", f"gradatim @ {KIT.as_uri()}"]
    steps = [[*locked, *(f"--requirement={lock}" for lock in locks(extras))], own]
    steps += [["--requirement", requirements]] if requirements else []
    environ = {"UV_SYSTEM_CERTS": "true", **os.environ}
    return all(subprocess.run([*pip, *step], check=False, env=environ).returncode == 0 for step in steps)


def locks(extras: str) -> list[Path]:
    """The locks of the kit and of its extras."""
    names = ["kit", *(name for name in extras.split(",") if name)]
    files = [LOCKS / f"{name}.txt" for name in names]
    if {"onnx", "onnx-gpu"} <= set(names):
        stop("The extras `onnx` and `onnx-gpu` bring two runtimes that overwrite each other: ask for one.")
    missing = [lock.stem for lock in files if not lock.is_file()]
    if missing:
        known = ", ".join(sorted(lock.stem for lock in LOCKS.glob("*.txt") if not lock.stem.endswith("-cpu")))
        stop(f"There is no lock for the extra {', '.join(missing)}. Known: {known}.")
    light = {lock: lock.with_name(f"{lock.stem}-cpu.txt") for lock in files}
    return [light[lock] if "gpu" not in names and light[lock].is_file() else lock for lock in files]


def find_uv(environment: Path) -> str:
    """The runner's uv, else one installed among the runner's tools with its own pip, from its lock."""
    found = shutil.which("uv")
    if found:
        return found
    lock = LOCKS / "uv.txt"
    key = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    folder = Path(os.environ.get("RUNNER_TOOL_CACHE") or environment.parent) / f"gradatim-uv-{key}"
    uv = folder / "bin" / "uv"
    if not uv.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        pip += ["--require-hashes", "--no-deps", "--root-user-action=ignore"]
        result = subprocess.run([*pip, "--target", str(folder), "--requirement", str(lock)], check=False)
        if result.returncode != 0:
            stop("uv could not be installed with the runner's pip; the reason stands above.")
    return str(uv)


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def stop(text: str) -> None:
    say(f"::error title=gradatim::{text}")
    sys.exit(4)


main()
