"""The user's own code, named ``module:function``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gradatim.code import closure_digest, explaining, is_reference, load_function, local_closure
from gradatim.errors import EnvironmentLacks, InvalidInput, UsageError


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_function_is_found_at_the_root_and_in_src(tmp_path: Path) -> None:
    write(tmp_path, "at_root.py", "def f(): return 'root'\n")
    write(tmp_path, "src/in_src/__init__.py", "class A:\n    @staticmethod\n    def f(): return 'src'\n")
    assert load_function("at_root:f", tmp_path)() == "root"
    assert load_function("in_src:A.f", tmp_path)() == "src"


def test_a_folder_with_spaces_and_unicode_works(tmp_path: Path) -> None:
    root = tmp_path / "mein Größen projekt"
    write(root, "größe.py", "def maß(): return 3\n")
    assert load_function("größe:maß", root)() == 3


def test_candidate_and_baseline_with_the_same_module_name_stay_apart(tmp_path: Path) -> None:
    for name in ("old", "new"):
        write(tmp_path / name, "twin/__init__.py", "")
        write(tmp_path / name, "twin/inner.py", f"NAME = {name!r}\n")
        write(tmp_path / name, "twin/model.py", "from twin.inner import NAME\ndef f(): return NAME\n")
    old = load_function("twin.model:f", tmp_path / "old")
    new = load_function("twin.model:f", tmp_path / "new")
    assert (old(), new(), load_function("twin.model:f", tmp_path / "old")()) == ("old", "new", "old")


def test_a_baseline_inside_the_candidates_folder_stays_apart(tmp_path: Path) -> None:
    inner = tmp_path / ".gradatim" / "baseline"
    write(tmp_path, "nested.py", "def f(): return 'outer'\n")
    write(inner, "nested.py", "def f(): return 'inner'\n")
    assert load_function("nested:f", tmp_path)() == "outer"
    assert load_function("nested:f", inner)() == "inner"
    assert load_function("nested:f", tmp_path)() == "outer"


@pytest.mark.parametrize(
    "reference", ["", "train", "train:", ":f", "a b:f", "a:b:c", "train.py", "os.system('x')"]
)
def test_a_malformed_reference_is_wrong_usage(reference: str, tmp_path: Path) -> None:
    assert not is_reference(reference)
    with pytest.raises(UsageError, match="module:function"):
        load_function(reference, tmp_path)


def test_a_file_name_in_place_of_a_module_is_corrected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Did you mean `models\.train:fit`"):
        load_function("models/train.py:fit", tmp_path)


def test_what_is_not_there_is_named_with_its_nearest_neighbour(tmp_path: Path) -> None:
    write(tmp_path, "preprocess.py", "def tokenize(): ...\nLIMIT = 3\n")
    with pytest.raises(InvalidInput, match=r"no module `preproces`.*Did you mean `preprocess`"):
        load_function("preproces:tokenize", tmp_path)
    with pytest.raises(InvalidInput, match=r"no `tokenise`.*Did you mean `tokenize`"):
        load_function("preprocess:tokenise", tmp_path)
    with pytest.raises(InvalidInput, match="is a int, not a function"):
        load_function("preprocess:LIMIT", tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\ny = 1 / 0\n", r"broken\.py:2: ZeroDivisionError: division by zero"),
        ("x = 1\ndef f(:\n", r"broken\.py:2: SyntaxError"),
        ("import sys\nsys.exit(0)\n", r"broken\.py:2: it calls sys\.exit"),
        ("import other.gone\n", r"broken\.py:1: ModuleNotFoundError"),
    ],
)
def test_a_module_that_fails_on_import_is_one_paragraph_with_file_and_line(
    text: str, expected: str, tmp_path: Path
) -> None:
    write(tmp_path, "other/__init__.py", "")
    write(tmp_path, "broken.py", text)
    sys.modules.pop("broken", None)
    with pytest.raises(InvalidInput, match=expected) as refusal:
        load_function("broken:f", tmp_path)
    assert "\n" not in str(refusal.value)


def test_a_package_that_is_not_installed_names_the_pip_install(tmp_path: Path) -> None:
    write(tmp_path, "needs.py", "\nimport quite_absent_package.part\n")
    with pytest.raises(EnvironmentLacks, match=r"needs\.py:2.*pip install quite_absent_package"):
        load_function("needs:f", tmp_path)


def test_an_exception_of_the_users_code_is_explained_where_it_happened(tmp_path: Path) -> None:
    write(tmp_path, "calls.py", "def f(x):\n    return g(x)\ndef g(x):\n    return x['gone']\n")
    function = load_function("calls:f", tmp_path)
    with (
        pytest.raises(InvalidInput, match=r"`calls:f` failed at calls\.py:4: KeyError: 'gone'"),
        explaining("calls:f", tmp_path),
    ):
        function({})


def test_the_closure_follows_packages_and_relative_imports_and_nothing_else(tmp_path: Path) -> None:
    write(
        tmp_path,
        "train.py",
        "import numpy\nimport lib.deep\nfrom src_mod import x\n\ndef f():\n    import late\n",
    )
    write(tmp_path, "lib/__init__.py", "from . import first\n")
    write(tmp_path, "lib/first.py", "from .second import y\n")
    write(tmp_path, "lib/second.py", "import importlib\nimportlib.import_module('named')\n")
    write(tmp_path, "lib/deep.py", "from ..train import f\nfrom lib import first\n")
    write(tmp_path, "src/src_mod.py", "x = 1\n")
    write(tmp_path, "late.py", "def broken(:\n")
    write(tmp_path, "named.py", "raise SystemExit('never executed')\n")
    write(tmp_path, "unrelated.py", "")
    names = {p.relative_to(tmp_path.resolve()).as_posix() for p in local_closure(tmp_path, Path("train.py"))}
    assert names == {
        "train.py", "lib/__init__.py", "lib/first.py", "lib/second.py", "lib/deep.py", "src/src_mod.py",
        "late.py", "named.py",
    }  # fmt: skip
    assert set(local_closure(tmp_path, "lib.deep:f")) == set(local_closure(tmp_path, Path("lib/deep.py")))


def test_a_scripts_own_folder_is_searched_as_python_does(tmp_path: Path) -> None:
    write(tmp_path, "tools/train.py", "import beside\n")
    beside = write(tmp_path, "tools/beside.py", "")
    assert beside.resolve() in local_closure(tmp_path, Path("tools/train.py"))


def test_the_digest_changes_with_code_it_rests_on_and_no_other(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "import b\n")
    write(tmp_path, "b.py", "X = 1\n")
    write(tmp_path, "c.py", "X = 1\n")
    before = closure_digest(tmp_path, "a:f")
    write(tmp_path, "c.py", "X = 2\n")
    assert closure_digest(tmp_path, "a:f") == before
    write(tmp_path, "b.py", "X = 2\n")
    assert closure_digest(tmp_path, "a:f") != before


def test_an_entry_that_does_not_exist_is_invalid(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist"):
        local_closure(tmp_path, Path("gone.py"))
    with pytest.raises(InvalidInput, match="no module `gone`"):
        local_closure(tmp_path, "gone:f")


def test_importing_it_is_light() -> None:
    script = (
        "import sys, gradatim.code; sys.exit(any(m in sys.modules for m in ('numpy', 'yaml', 'pydantic')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
