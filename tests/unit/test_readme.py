"""README and docs keep to the code: what is rendered is current, what is linked is there, what is promised works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from gradatim import __version__
from gradatim.cli import STEPS, VERBS, cli
from gradatim.contract.reading import contract_of, read_contract
from gradatim.contract.schema import Contract
from gradatim.gates.rule import Rule

TOP = Path(__file__).resolve().parents[2]
README = (TOP / "README.md").read_text(encoding="utf-8")
PAGES = [*TOP.glob("*.md"), *TOP.glob("docs/**/*.md")]

DEMO = 'python -m pip install ".[demo]" && gradatim demo'
TESTS = "python -m pip install nox && nox -s tests"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def _example() -> str:
    return next(block for block in _blocks("yaml") if "\nmodel:" in block)


def test_what_is_written_from_the_code_is_current() -> None:
    done = subprocess.run(
        [sys.executable, str(TOP / "docs/write.py"), "--check"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, f"run python docs/write.py: {done.stderr}"


def test_every_command_is_in_the_readme() -> None:
    for name in (*VERBS, *STEPS):
        assert f"| `gradatim {name}` |" in README


def test_quick_start_is_a_clone_and_exactly_two_commands() -> None:
    clone = "git clone https://github.com/gradatim/gradatim\ncd gradatim"
    assert _blocks("sh")[:2] == [f"{clone}\n{DEMO}\n", f"{TESTS}\n"]


def test_ci_finds_the_test_command_of_the_readme() -> None:
    (line,) = re.findall(r"^command=.*$", (TOP / ".ci/run").read_text(encoding="utf-8"), re.MULTILINE)
    found = subprocess.run(
        ["bash", "-c", f'{line}; printf %s "$command"'], cwd=TOP, check=True, capture_output=True, text=True
    )
    assert found.stdout == TESTS


def test_the_contract_of_the_readme_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "gradatim.yml"
    path.write_text(_example(), encoding="utf-8")
    contract = read_contract(path)
    assert contract.parts.model.name == "digits"
    assert contract.ladder == ("alpha", "beta", "production")
    assert all(isinstance(rule, Rule) for rule in contract.rules_for("production"))


PARTS: dict[str, dict[str, str]] = {
    "model": {"name": "small", "path": "model.onnx"},
    "data": {"evaluation": "test.npz", "calibration": "calibration.npz"},
}
"""What a page leaves out where it shows a part of a contract."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(TOP).as_posix())
def test_every_contract_that_a_page_shows_is_accepted(page: Path) -> None:
    found = re.findall(
        r"^( *)```yaml[^\n]*\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    for indent, block in found:
        text = re.sub(f"^{indent}", "", block, flags=re.MULTILINE)
        said = yaml.safe_load(text)
        if not set(said) <= set(Contract.model_fields):
            continue  # a CI system's file
        parts = {**PARTS, "task": _task_of(text), **said}
        parts["model"] = {**({} if "factory" in text else PARTS["model"]), **parts["model"]}
        if "import" in said.get("evaluate", {}):
            del parts["data"]  # the rows come with the results
        contract_of(yaml.safe_dump(parts, sort_keys=False), TOP / "gradatim.yml")


def _task_of(text: str) -> dict[str, object]:
    spoken = re.search(r"endpoint:|exact_match", text)
    return {"type": "generation", "scorers": ["exact_match"]} if spoken else {"type": "classification"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(TOP).as_posix())
def test_every_option_that_a_page_shows_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    within = r'"gradatim ([a-z][^`#|>;&"\n]*)"'  # a command that another is given
    whole = re.findall(r"\bgradatim ([a-z][^`#|>;&\n]*)", re.sub(within, "", text))
    for line in (*whole, *re.findall(within, text)):
        command, words = cli, line.split()
        context = click.Context(cli, **cli.context_settings)  # type: ignore[arg-type]
        while words and isinstance(command, click.Group) and (one := command.get_command(context, words[0])):
            command, words = one, words[1:]
        known = {option for each in command.get_params(context) for option in each.opts}
        named = {word.rstrip(".,:)") for word in words if word.startswith("--")}
        assert named <= known, f"{page.name}: gradatim {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(TOP).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    links = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r"(?:href|src)=\"([^\"]+)\"", text)]
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor and target.suffix == ".md":
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in slugs, f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(TOP).as_posix())
def test_every_command_and_bench_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"^(?:\$ )?gradatim ([a-z]+)", text, re.MULTILINE) + re.findall(
        r"`gradatim ([a-z]+)", text
    ):
        assert name in {*VERBS, *STEPS}, f"{page.name}: gradatim {name}"
    for name in re.findall(r"\btests/[\w/]+\.py\b", text):
        assert (TOP / name).is_file(), f"{page.name}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(TOP).as_posix())
def test_no_page_holds_a_placeholder_or_an_old_version(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"\b(TODO|FIXME|TBD|XXX|lorem ipsum)\b", text)
    assert not re.search(r"^```\w*\n```$", text, re.MULTILINE), "an empty block"
    assert set(re.findall(r"gradatim/gradatim(?:[/@]|\S*?@)v(\d+\.\d+\.\d+)", text)) <= {__version__}


def test_no_page_advises_an_index_that_does_not_hold_the_kit() -> None:
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            assert not re.search(r"pip install [^`]*[\"' ]gradatim(\[[\w,-]+\])?([\"'`]|$)", line), (
                f"{page.name}: {line}"
            )


def test_the_page_on_installing_names_every_extra() -> None:
    settings = (TOP / "pyproject.toml").read_text(encoding="utf-8")
    table = settings.split("[project.optional-dependencies]\n")[1].split("\n[")[0]
    page = (TOP / "docs/how-to/install.md").read_text(encoding="utf-8")
    rows = " ".join(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE))
    assert set(re.findall(r"^([\w-]+) = \[", table, re.MULTILINE)) == set(re.findall(r"`([\w-]+)`", rows))


CHINESE = [("README.md", "README.zh-CN.md"), ("docs/tutorial.md", "docs/tutorial.zh-CN.md")]


def outline(page: str) -> list[str]:
    """The depth of each heading, and each block of commands, files and output without what stands in comments for people."""
    text = (TOP / page).read_text(encoding="utf-8")
    found = re.findall(r"^(#+) |^(```.*?^```$)", text, re.DOTALL | re.MULTILINE)
    return [depth or re.sub(r"[ \t]+#.*$|^# .*\n", "", block, flags=re.MULTILINE) for depth, block in found]


@pytest.mark.parametrize(("english", "chinese"), CHINESE)
def test_the_chinese_page_keeps_step_with_the_english_one(english: str, chinese: str) -> None:
    assert outline(chinese) == outline(english)
    text = (TOP / chinese).read_text(encoding="utf-8")
    for link in set(re.findall(r"\]\(([\w/-]+\.md)\)", (TOP / english).read_text(encoding="utf-8"))):
        assert link in text or link.replace(".md", ".zh-CN.md") in text, f"{chinese} lacks the link to {link}"
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert [
        title
        for title in re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
        if not re.search(r"[\u4e00-\u9fff]", title)
    ] == (["gradatim"] if english == "README.md" else [])


def test_every_command_is_in_the_chinese_readme() -> None:
    chinese = (TOP / "README.zh-CN.md").read_text(encoding="utf-8")
    assert [name for name in (*VERBS, *STEPS) if f"| `gradatim {name}` | " not in chinese] == []


def test_every_page_stands_in_the_menu_of_the_site() -> None:
    """The site itself is built strictly by `nox -s docs`."""
    settings = (TOP / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r": ([\w./-]+\.md)$", settings.split("\nnav:\n")[1], re.MULTILINE)
    assert sorted(named) == sorted(
        page.relative_to(TOP / "docs").as_posix() for page in TOP.glob("docs/**/*.md")
    )


def test_the_picture_of_the_report_is_a_picture() -> None:
    assert (TOP / "docs/report.png").read_bytes().startswith(b"\x89PNG\r\n")
