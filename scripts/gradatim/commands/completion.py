"""gradatim completion: let the shell complete commands, options and steps."""

from __future__ import annotations

import os
from pathlib import Path

import click

_FILES = {
    "bash": "~/.local/share/bash-completion/completions/gradatim",
    "zsh": "~/.zfunc/_gradatim",
    "fish": "~/.config/fish/completions/gradatim.fish",
}
"""Where each shell looks for a user's own completions (zsh: once ``fpath`` names the folder)."""


@click.command("completion", short_help="Let your shell complete gradatim's commands and options.")
@click.argument("shell", required=False, type=click.Choice(list(_FILES)))
@click.option("--install", is_flag=True, help="Write it to where the shell looks, in place of printing it.")
def command(shell: str | None, install: bool) -> None:
    """Print the completion script of a shell, by default the one that you use; with --install put it in its place.

    \b
    Examples:
      gradatim completion --install
      gradatim completion zsh
    """
    from click.shell_completion import get_completion_class

    from gradatim.errors import UsageError
    from gradatim.files import write_text, writing

    name = shell or Path(os.environ.get("SHELL", "")).name
    found = get_completion_class(name)
    if name not in _FILES or found is None:
        raise UsageError(f"Which shell? Say one of them: gradatim completion {' | '.join(_FILES)}")
    # bash is asked for its version by click, and need not be installed where only its script is wanted
    found._check_version = staticmethod(lambda: None)  # type: ignore[attr-defined]
    script = found(
        click.get_current_context().find_root().command, {}, "gradatim", "_GRADATIM_COMPLETE"
    ).source()
    if not install:
        click.echo(script)
        return
    path = Path(_FILES[name]).expanduser()
    with writing(path):
        write_text(path, script)
    click.echo(f"{path}: begins with your next shell.")
    if name == "zsh":
        click.echo(
            "If it does not, put this into ~/.zshrc: fpath=(~/.zfunc $fpath); autoload -Uz compinit; compinit"
        )
