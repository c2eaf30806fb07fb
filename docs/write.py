"""Write the parts of README.md and docs/ that come from the code: ``python docs/write.py``, ``--check`` tells what drifted.

In the README a part stands between ``<!-- name: ... -->`` and ``<!-- /name -->``. A page is written whole.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

import click

from gradatim import errors
from gradatim.cli import STEPS, VERBS, cli
from gradatim.contract.documentation import reference_page
from gradatim.contract.reading import read_contract
from gradatim.contract.stores import STORES
from gradatim.files import write_text
from gradatim.lineage.schema import json_schema
from gradatim.metrics import catalogue as measured
from gradatim.metrics.scorers.table import SCORERS, Scoring
from gradatim.perturb import catalogue
from gradatim.releasing.servers import SERVERS
from gradatim.rendering import gitlab
from gradatim.rendering.workflows import Caller, render_caller

TOP = Path(__file__).resolve().parents[1]

MEANING = {
    "gaussian_noise": "standard deviation, share of the value range",
    "shot_noise": "photons at full brightness",
    "impulse_noise": "share of pixels turned black or white",
    "speckle_noise": "standard deviation, share of the pixel's own value",
    "gaussian_blur": "standard deviation in pixels",
    "defocus_blur": "radius in pixels",
    "contrast": "share of the contrast that is left",
    "brightness": "added, share of the value range",
    "pixelate": "size it is reduced to",
    "jpeg_compression": "quality",
    "feature_noise": "standard deviation, share of the feature's own",
    "missing_values": "share of cells, filled with the feature's mean",
    "unit_error": "share of cells, times a power of ten",
    "column_swap": "share of rows, two features exchanged",
    "outliers": "share of cells, five to ten standard deviations away",
    "typos": "share of characters: insert, delete, replace, transpose",
    "word_drop": "share of words",
    "case_change": "share of words, upper and lower case exchanged",
    "homoglyphs": "share of characters",
    "zero_width": "share of gaps between characters",
    "background_noise": "signal-to-noise ratio in decibels",
    "clipping": "share of samples cut off",
    "gain": "decibels",
    "dropout": "share of 20 ms packets lost",
    "speed": "times as fast",
    "token_substitution": "share of tokens",
    "token_drop": "share of tokens",
    "unknown_tokens": "share of tokens",
    "truncation": "share of the sequence that is left",
}
"""What the figures of `perturb/catalogue.py` stand for."""


def written() -> dict[str, str]:
    """Every file that has such parts, as it should be, by its path in the repository."""
    readme, chinese, gitlab_page, publishing, package = (
        (TOP / name).read_text(encoding="utf-8")
        for name in (
            "README.md",
            "README.zh-CN.md",
            "docs/how-to/gitlab.md",
            "docs/how-to/publishing.md",
            "docs/how-to/package.md",
        )
    )
    table, pinned = commands(), f"```yaml\n{caller(example(readme))}```"
    included = f"```yaml\n{include()}```"
    return {
        "README.md": _filled(readme, {"commands": table, "caller": pinned, "include": included}),
        "README.zh-CN.md": _filled(chinese, {"caller": pinned, "include": included}),
        "docs/how-to/gitlab.md": _filled(gitlab_page, {"inputs": inputs()}),
        "docs/how-to/publishing.md": _filled(publishing, {"places": places()}),
        "docs/how-to/package.md": _filled(package, {"servers": servers()}),
        "docs/reference/contract.md": reference_page(),
        "docs/reference/commands.md": _page("Commands", usage()),
        "docs/reference/corruptions.md": _page("Corruptions", corruptions()),
        "docs/reference/exit-codes.md": _page("Exit codes", exit_codes()),
        "docs/reference/metrics.md": _page("Metrics", metrics()),
        "docs/reference/lineage.schema.json": json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n",
    }


def _page(title: str, text: str) -> str:
    return f"# {title}\n\n<!-- Written from the code by `python docs/write.py`. -->\n\n{text}\n"


def usage() -> str:
    """The help of every command, as ``--help`` prints it, and of those within it."""
    pages = [commands()]
    for name in (*VERBS, *STEPS):
        found = cli.get_command(click.Context(cli), name)
        if found is None:
            raise SystemExit(f"The command {name} is named and not there.")
        pages.append(_help(f"gradatim {name}", found))
        if isinstance(found, click.Group):
            pages += [_help(f"gradatim {name} {inner}", each) for inner, each in found.commands.items()]
    return "\n\n".join(pages)


def _help(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name, terminal_width=100, max_content_width=100)
    return f"## {name}\n\n```text\n{command.get_help(context).rstrip()}\n```"


def exit_codes() -> str:
    """Every exit code and what says so, from the errors themselves."""
    rows = [
        "| code | what it says |",
        "|---|---|",
        "| 0 | It is done, and every gate that was asked passed. |",
    ]
    rows += ["| 1 | A gate said FAIL or INCONCLUSIVE, or a check of the model did not hold. |"]
    for code, kinds in groupby(sorted(_refusals(), key=_code), key=_code):
        rows.append(f"| {code} | {' '.join(str(kind.__doc__).splitlines()[0] for kind in kinds)} |")
    rows.append(
        "| 130 | It was interrupted. What was finished is kept; the same command goes on from there. |"
    )
    after = "With `--json` the same code stands in the answer, as `exit`, beside the paragraph, as `error`."
    return "\n".join([*rows, "", after])


def _refusals() -> list[type[errors.GradatimError]]:
    found = [errors.GradatimError.__subclasses__(), errors.InvalidInput.__subclasses__()]
    return [kind for kinds in found for kind in kinds if kind.__module__ == errors.__name__]


def _code(kind: type[errors.GradatimError]) -> int:
    return kind.exit_code


def metrics() -> str:
    """Every metric that a gate can name, by task."""
    parts = ["A gate names a metric. `[class=LABEL]` asks for one class; own metrics come by `task.metrics`."]
    everywhere = {name for name, _ in _common()}
    scorers = [Scoring(name, kind).metric for name, kind in SCORERS.items()]
    for task in measured.TASKS:
        usual = measured.ASKED.get(task, ())
        mine = scorers if task == "generation" else [one for one in scorers if one.name in usual]
        own = [(name, one) for name, one in measured.known(task, mine).items() if name not in everywhere]
        parts.append(f"## {task.replace('_', ' ').capitalize()}\n\n{_measures(own)}")
    parts.append(f"## Every task\n\n{_measures(_common())}")
    return "\n\n".join(parts)


def _common() -> list[tuple[str, measured.Metric]]:
    every = [measured.known(task) for task in measured.TASKS]
    return [(name, one) for name, one in every[0].items() if all(name in known for known in every)]


def _measures(given: list[tuple[str, measured.Metric]]) -> str:
    rows = ["| metric | is | better | a margin in per cent | by class |", "|---|---|---|---|---|"]
    for name, one in given:
        margin = "points" if one.fraction else "of the baseline's value"
        better, by_class = "higher" if one.higher_is_better else "lower", "yes" if one.by_class else ""
        rows.append(f"| `{name}` | {one.description} | {better} | {margin} | {by_class} |")
    return "\n".join(rows)


def commands() -> str:
    """Every command and what it is for, in the order of ``gradatim --help``."""
    rows = ["| command | |", "|---|---|"]
    rows += [f"| `gradatim {name}` | {meaning} |" for name, meaning in VERBS.items()]
    rows += ["| **steps**, each a command, a CI job and an action | |"]
    rows += [f"| `gradatim {name}` | {meaning} |" for name, meaning in STEPS.items()]
    return "\n".join(rows)


def example(readme: str) -> str:
    """The contract that the README shows."""
    return next(block for block in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL) if "\nmodel:" in block)


def caller(contract: str) -> str:
    """The workflow file of a team that has this contract, at the kit's current version."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gradatim.yml"
        path.write_text(contract, encoding="utf-8")
        stages = read_contract(path).parts.stages
    return render_caller(
        Caller(tuple(stage.branch for stage in stages.values() if stage.branch), tuple(stages))
    )


def include() -> str:
    """GitLab's include at the kit's current version, for the branches that the README's contract has."""
    given = {one.name: one.default for one in gitlab.INPUTS}
    address = f"https://raw.githubusercontent.com/gradatim/gradatim/{gitlab.REF}/{gitlab.PATH}"
    return (
        f"include:\n  - remote: {address}\n    inputs:\n"
        f"      branches: {given['branches']}\n      built: model/digits.onnx\n"
    )


def inputs() -> str:
    """Every input of GitLab's include."""
    rows = ["| input | default | |", "|---|---|---|"]
    for one in gitlab.INPUTS:
        default = str(one.default).replace("|", "\\|")
        rows.append(f"| `{one.name}` | {f'`{default}`' if default else 'nothing'} | {one.description} |")
    return "\n".join(rows)


def places() -> str:
    """Every kind of place that releases are published to."""
    rows = ["| place | [extra](install.md) | who writes | one release is |", "|---|---|---|---|"]
    for store in STORES.values():
        extra = f"`{store.extra}`" if store.extra else "-"
        rows.append(f"| {store.kind} | {extra} | {store.access} | {store.release} |")
    return "\n".join(rows)


def servers() -> str:
    """Every server that a release is packaged for."""
    rows = ["| for | what is laid down | formats | then |", "|---|---|---|---|"]
    for server in SERVERS.values():
        begin = server.begin.format(name="NAME", version="VERSION", file="FILE")
        told = " ".join(filter(None, (server.meaning, server.then)))
        rows.append(f"| `{server.name}` | {told} | {', '.join(server.formats)} | `{begin}` |")
    return "\n".join(rows)


def corruptions() -> str:
    """Every corruption with the strength of each severity."""
    rows = ["| items | corruption | severity 1 .. 5 | in |", "|---|---|---|---|"]
    levels = {
        **catalogue.IMAGE_LARGE,
        **catalogue.TABULAR,
        **catalogue.TEXT,
        **catalogue.AUDIO,
        **catalogue.TOKENS,
    }
    for kind, names in catalogue.NAMES.items():
        for name in names:
            shown = ", ".join(f"{level:g}" for level in levels[name])
            rows.append(f"| {kind} | `{name}` | {shown} | {MEANING[name]} |")
    note = (
        "The image strengths are those for images of at least 64 pixels; smaller ones get those of CIFAR-10-C. "
        "[What robustness measures](../explanation/robustness.md)."
    )
    return "\n".join([*rows, "", note])


def _filled(text: str, parts: Mapping[str, str]) -> str:
    for name, part in parts.items():
        mark = re.compile(rf"(<!-- {name}: [^\n]*-->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
        text, found = mark.subn(lambda place, part=part: f"{place[1]}{part}{place[2]}", text)
        if found != 1:
            raise SystemExit(f"The part `{name}` stands {found} times where it should stand once.")
    return text


def main(arguments: list[str]) -> int:
    drifted = {
        path: text
        for path, text in written().items()
        if not (TOP / path).is_file() or (TOP / path).read_text(encoding="utf-8") != text
    }
    for path, text in drifted.items():
        if "--check" not in arguments:
            write_text(TOP / path, text)
        sys.stderr.write(f"{path}\n")
    return 1 if drifted and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
