"""The door: one lazily imported command per step or verb."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
from pathlib import Path

import click

from gradatim import __version__
from gradatim.commands import standard
from gradatim.errors import ContractError, GradatimError, Problem, did_you_mean, missing_package
from gradatim.files import cannot_write
from gradatim.pipeline.graph import GRAPH

if sys.platform == "win32":
    sys.stderr.write(
        "error: gradatim runs on Linux and, without benchmarks on a GPU, on macOS. On Windows use it in WSL: wsl --install\n"
    )
    sys.exit(4)

VERBS: dict[str, str] = {
    "init": "Write a contract for the model and data found here.",
    "demo": "Lay down a small real project and release it, start to end.",
    "run": "Walk the whole release, from build to publish.",
    "status": "What is in which stage, and what comes next.",
    "history": "Every release and every move between stages.",
    "diff": "What changed between two releases.",
    "package": "Lay a released model out for a model server.",
    "canary": "Prove a candidate on traffic, recorded or live.",
    "deploy": "Put what a stage holds where it serves.",
    "monitor": "Watch a release: rules, dashboard, drift.",
    "feedback": "Join what users said to versions.",
    "iterate": "Report an iteration, and plan the next.",
    "verify": "Is this release complete, proven and untouched?",
    "report": "Render the report of the last run again.",
    "explain": "What the answers that flipped hang on.",
    "schema": "The contract's JSON Schema, for editors.",
    "protect": "Set branch rules, tag rules and environments on GitHub or GitLab.",
    "selftest": "How far can this machine's timings be trusted?",
    "doctor": "Find traps in the CI around the contract.",
    "completion": "Let your shell complete gradatim's commands and options.",
    "render": "Write the file of a CI system for the contract.",
    "ci": "What CI workflows call around the steps.",
}
STEPS: dict[str, str] = {step.name: step.question for step in GRAPH}

_READER_GONE = 128 + signal.SIGPIPE
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


class _Door(click.Group):
    """Imports a command only when it is called, so that ``--help`` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*VERBS, *STEPS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in VERBS:
            found = importlib.import_module(f"gradatim.commands.{cmd_name}").command
        elif cmd_name in STEPS:
            found = importlib.import_module("gradatim.commands.step").command(cmd_name)
        else:
            return None
        if not isinstance(found, click.Command):
            raise TypeError(f"gradatim.commands.{cmd_name} holds no command")
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in {*VERBS, *STEPS}:
            hint = did_you_mean(args[0], self.list_commands(ctx)) or " See: gradatim --help"
            raise click.UsageError(f"There is no command `{args[0]}`.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in (("Commands", VERBS), ("Steps, each a command and a CI job", STEPS)):
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))


@click.group(cls=_Door, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="gradatim")
def cli() -> None:
    """Release machine-learning models stage by stage, inside the CI you already have.

    \b
    Examples:
      gradatim demo            watch a real model go from file to verified release
      gradatim init            write gradatim.yml for the model in this repository
      gradatim run             build, check, gate, tag and publish the candidate
      gradatim run --until gate     check only; change nothing outside

    Exit codes: 0 passed, 1 a gate refused, 2 wrong usage or contract,
    3 invalid input or broken evidence, 4 the machine lacks something.
    """


def main() -> None:
    """Run the command line; turn every refusal into one paragraph and its exit code."""
    standard.open_missing()
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = (
        "__all__"  # what else is installed has no say in how a contract is read
    )
    if "--json" in sys.argv:
        standard.reserve_output()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ask_to_stop)
    try:
        code = _run()
        sys.stdout.flush()
    except BrokenPipeError:
        standard.discard_output()
        code = _READER_GONE
    sys.exit(code)


def _run() -> int:
    try:
        if "_GRADATIM_COMPLETE" in os.environ:
            return cli.main(prog_name="gradatim", standalone_mode=False) or 0
        with cli.make_context("gradatim", sys.argv[1:], color=_colour()) as context:
            status = cli.invoke(context)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _say("Interrupted. What was finished is kept; run the same command to go on.", 130, label="")
    except click.ClickException as error:
        return _misused(error)
    except GradatimError as error:
        _annotate(error)
        return _say(str(error), error.exit_code)
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno in _UNWRITABLE:
            refusal = cannot_write(Path(os.fsdecode(error.filename or Path.cwd())), error)
            return _say(str(refusal), refusal.exit_code)
        return _say(_bug(error), 3)
    except MemoryError:
        return _say("This machine has not enough memory for that. Free some, or lower `data.batch`.", 4)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "scipy":
            return _say(_bug(error), 3)
        lacks = missing_package("scipy", "checks", "Judging a model")  # the registry does without
        return _say(str(lacks), lacks.exit_code)
    except Exception as error:
        return _say(_bug(error), 3)
    return status if isinstance(status, int) else 0


def _annotate(error: GradatimError) -> None:
    """Tell the CI system too, where there is one, with the lines of a contract that is wrong."""
    from gradatim import ci

    problems = error.problems if isinstance(error, ContractError) else (Problem(str(error)),)
    file = error.path if isinstance(error, ContractError) else ""
    for problem in problems:
        ci.detect().refuse(problem.message, file=file, line=problem.line if file else None, title="gradatim")


def _ask_to_stop(_number: int, _frame: object) -> None:
    """A CI job that is cancelled, a terminal that is closed: end in order, as after Ctrl-C."""
    raise KeyboardInterrupt


def _misused(error: click.ClickException) -> int:
    message = error.format_message()
    if message.startswith("Usage:"):  # a group without a command: its help
        error.show()
        return error.exit_code
    message = " ".join(message.split())  # click writes choices a line each
    context = getattr(error, "ctx", None)
    ended = message if message.endswith((".", "?", "--help")) else f"{message}."
    more = f" See: {context.command_path} --help" if context and "--help" not in message else ""
    return _say(ended + more, error.exit_code)


def _say(paragraph: str, code: int, label: str = "error: ") -> int:
    paragraph = paragraph.replace(f"{Path.cwd()}/", "")  # as a person at this folder writes a path
    if "--json" in sys.argv:
        standard.write_object({"error": paragraph, "exit": code})
    from gradatim import ci

    label = click.style(label, fg="red", bold=True) if label else ""
    click.echo(f"{label}{ci.detect().harmless(paragraph)}", err=True, color=_colour())
    return code


def _colour() -> bool | None:
    """Never where the user asked for none (no-color.org); else on a terminal only, which click sees."""
    return False if os.environ.get("NO_COLOR") else None


def _bug(error: Exception) -> str:
    """A defect of ours: one paragraph for the person, the traceback in a file for the bug report."""
    import tempfile
    import traceback

    folder = Path(".gradatim") if Path(".gradatim").is_dir() else Path(tempfile.gettempdir())
    log = folder / "gradatim-crash.log"
    told = ""
    try:
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        told = f" The traceback is in {log}."
    except OSError:
        pass
    return (
        f"This is a bug in gradatim {__version__}: {type(error).__name__}: {error}.{told} Please report it."
    )
