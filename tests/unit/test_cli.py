"""The door: fast, light, and every command explains itself with an example."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from gradatim import __version__
from gradatim.cli import STEPS, VERBS, cli

COMMANDS = {**VERBS, **STEPS}
HEAVY = ("numpy", "torch", "onnx", "onnxruntime", "pydantic", "yaml", "scipy", "sklearn", "rich", "jinja2")


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def every_command() -> Iterator[tuple[str, click.Command]]:
    """Each command, and those within it."""
    for name in COMMANDS:
        found = command(name)
        yield name, found
        if isinstance(found, click.Group):
            yield from ((f"{name} {inner}", each) for inner, each in found.commands.items())


def call(*arguments: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run the command line; also the seconds of processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "gradatim", *arguments], capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_help_takes_no_time() -> None:
    calls = [call("--help") for _ in range(5)]
    assert all(done.returncode == 0 for done, _ in calls)
    assert min(seconds for _, seconds in calls) < 0.13


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["status", "--help"], ["gate", "--help"]]
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = f"""
import sys
sys.argv = ["gradatim", *{arguments!r}]
from gradatim.cli import main
try:
    main()
except SystemExit:
    pass
sys.stderr.write(" ".join(name for name in {HEAVY!r} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: gradatim")
    assert done.stderr == ""


def test_the_help_lists_every_command_with_what_it_does_and_the_exit_codes() -> None:
    said = " ".join(call("--help")[0].stdout.split())
    for name, question in COMMANDS.items():
        assert f"{name} {question}" in said
    assert (
        "0 passed, 1 a gate refused, 2 wrong usage or contract, 3 invalid input or broken evidence, 4" in said
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_the_same_in_short_as_the_list_does(name: str) -> None:
    assert command(name).get_short_help_str(limit=200) == COMMANDS[name]


def test_every_command_has_an_example_that_its_own_options_allow() -> None:
    for name, found in every_command():
        text = found.help or ""
        assert re.search(r"\n\s*Examples?:\n", text), name
        if isinstance(found, click.Group):
            continue
        examples = re.findall(rf"^\s*gradatim {name}\b(.*)$", text, re.MULTILINE)
        assert examples, name
        allowed = {spelling for option in found.params for spelling in (*option.opts, *option.secondary_opts)}
        for example in examples:
            assert set(re.findall(r"(?<=\s)--[a-z-]+", example)) <= allowed, (name, example)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_the_short_form_of_help(name: str) -> None:
    context = click.Context(cli, info_name="gradatim", **cli.context_settings)  # type: ignore[arg-type]
    for spelling in ("-h", "--help"):
        with pytest.raises(click.exceptions.Exit) as left:
            command(name).make_context(name, [spelling], parent=context)
        assert left.value.exit_code == 0


def test_every_option_is_explained() -> None:
    for name, found in every_command():
        for option in found.params:
            if isinstance(option, click.Option):
                assert option.help, (name, option.name)


def test_the_version_is_told() -> None:
    done, _ = call("--version")
    assert (done.returncode, done.stdout) == (0, f"gradatim, version {__version__}\n")


def test_alone_it_shows_its_help() -> None:
    done, _ = call()
    assert "Usage: gradatim" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_an_argument_that_is_left_out_is_asked_for_in_one_line() -> None:
    done, _ = call("selftest")
    assert done.returncode == 2
    assert done.stderr == (
        "error: Missing argument '{benchmark}'. Choose from: benchmark. See: gradatim selftest --help\n"
    )


def test_shells_can_complete_commands() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gradatim"],
        env={**os.environ, "_GRADATIM_COMPLETE": "bash_complete", "COMP_WORDS": "gradatim eva", "COMP_CWORD": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "evaluate" in done.stdout


def test_on_windows_it_says_at_once_where_it_runs() -> None:
    script = "import sys, pathlib, click, errno; sys.platform = 'win32'; import gradatim.cli"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr.startswith("error: gradatim runs on Linux")
    assert "WSL" in done.stderr
    assert "Traceback" not in done.stderr
