"""Files that do something when their own libraries load them are refused, and have then done nothing."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import pickle
import pickletools
import random
import signal
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import ClassVar
from unittest import mock

import benign_files
import hostile_files
import hostile_programs
import numpy as np
import pytest

from gradatim.cli import main
from gradatim.errors import InvalidInput
from gradatim.models import inspect_model, open_model
from gradatim.models.exported_program import check_program
from gradatim.models.pickles import doubt, holds_pickle
from gradatim.models.unpickling import bytes_reach_out

pytest.importorskip("torch")
pytest.importorskip("joblib")
pytest.importorskip("onnx")

Makers = dict[str, Callable[[Callable[[str], str]], Iterator[tuple[str, bytes]]]]

LOADS = f"""
import logging, sys
from pathlib import Path

module = {{"pickle": "pickle", "packed": "joblib", "arrays": "numpy"}}.get(sys.argv[2], "torch")
globals()[module] = __import__(module)
logging.disable()

def arrays(path):
    found = numpy.load(path, allow_pickle=True)
    for name in getattr(found, "files", ()):
        found[name]

def program(path):
    sys.modules.pop({hostile_programs.CANARY!r}, None)
    sys.path[0] = str(path.parent.parent / "canaries" / path.stem)
    module = torch.export.load(str(path)).module()
    module(torch.ones(6, 4), scale=torch.tensor(2.0))

loads = {{
    "pickle": lambda path: pickle.loads(path.read_bytes()), "packed": lambda path: joblib.load(path), "arrays": arrays, "program": program,
    "torch": lambda path: torch.load(path, weights_only=False), "script": lambda path: torch.jit.load(str(path)),
}}
for path in sorted(Path(sys.argv[1]).glob("*")):
    try:
        loads[sys.argv[2]](path)
    except BaseException:
        pass
"""


class Range:
    """A folder of hostile files of one kind, and the marks that they left."""

    def __init__(self, root: Path) -> None:
        self.files = root / "files"
        self.marks = root / "marks"
        for folder in (self.files, self.marks):
            folder.mkdir(parents=True)

    def fill(self, made: Iterator[tuple[str, bytes]], suffix: str) -> None:
        for name, data in made:
            (self.files / f"{name}{suffix}").write_bytes(data)

    def silent(self, kind: str) -> list[str]:
        """Load every file as its library does; the names of those that left no mark. The marks are wiped off again."""
        subprocess.run(
            [sys.executable, "-c", LOADS, str(self.files), kind],
            capture_output=True,
            check=False,
            timeout=300,
        )
        fired = {path.name for path in self.marks.iterdir()}
        for path in self.marks.iterdir():
            path.unlink()
        return [path.name for path in self.files.iterdir() if path.stem not in fired]

    def let_in(self, project: Path) -> list[str]:
        """The names of those files that ``gradatim inspect`` does not refuse, or that did something meanwhile."""
        found = []
        for number, path in enumerate(sorted(self.files.iterdir())):
            code, said = inspected(project, path, number)
            if code not in (1, 3) or "bug in gradatim" in said or any(self.marks.iterdir()):
                found.append(f"{path.name}: exit {code}: {said}")
                for mark in self.marks.iterdir():
                    mark.unlink()
        return found


def inspected(project: Path, model: Path, number: int, name: str = "") -> tuple[int, str]:
    """As :func:`inspect` says it; but a process that imports torch is started for every fifth PyTorch file alone."""
    if model.suffix not in (".pt", ".pt2") or number % 5 == 0:
        return inspect(project, model, name)
    try:
        found = inspect_model(model, root=model.parent)
    except InvalidInput as error:
        return 3, str(error)
    return (1, str(found.doubts)) if found.doubts else (0, "no pickle")


def inspect(project: Path, model: Path, name: str = "") -> tuple[int, str]:
    """The exit code and the words of ``gradatim inspect`` for a model."""
    target = project / (name or f"model{model.suffix}")
    target.write_bytes(model.read_bytes())
    contract = project / "gradatim.yml"
    contract.write_text(
        f"model: {{name: m, path: {target.name}}}\ndata: {{evaluation: test.npz}}\ntask: {{type: classification, labels: [0, 1]}}\n"
        "gates: {accuracy: {at_least: 1%}}\nstages: {production: {branch: main}}\n"
    )
    said = io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    arguments = ["gradatim", "inspect", "--force", "--contract", str(contract)]
    try:
        with mock.patch.object(sys, "argv", arguments), redirect_stdout(said), redirect_stderr(said):
            main()
    except SystemExit as ended:
        return int(ended.code or 0), said.getvalue()
    finally:
        target.unlink()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    raise AssertionError("it never ends without an exit code")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    np.savez(folder / "test.npz", x=np.zeros((4, 4), np.float32), label=np.arange(4) % 2)
    return folder


KINDS: Makers = {
    "pickle": hostile_files.pickles,
    "packed": hostile_files.packed_pickles,
    "arrays": hostile_files.arrays,
    "torch": hostile_files.torch_files,
    "script": hostile_programs.scripts,
}
LEAST = {"pickle": 45, "packed": 10, "arrays": 20, "torch": 5, "script": 8}


@pytest.mark.parametrize("kind", KINDS)
def test_what_fires_when_it_is_loaded_is_refused_and_stays_silent(
    tmp_path: Path, project: Path, kind: str
) -> None:
    place = Range(tmp_path / kind)
    place.fill(KINDS[kind](lambda name: str(place.marks / name)), ".pt" if kind == "script" else ".bin")
    assert len(list(place.files.iterdir())) >= LEAST[kind]
    assert place.silent(kind) == []
    assert place.let_in(project) == []


@pytest.mark.parametrize("kind", ["pickle", "packed", "arrays", "torch"])
def test_what_fires_is_told_beside_good_weights_too(tmp_path: Path, kind: str) -> None:
    place = Range(tmp_path / kind)
    place.fill(KINDS[kind](lambda name: str(place.marks / name)), ".bin")
    assert [path.name for path in place.files.iterdir() if not holds_pickle(path)] == []


def test_no_pickle_that_calls_anything_gets_past_the_walk() -> None:
    """Random openings before a call: what the real unpickler calls, the walk must have noticed."""
    draw = random.Random(7)
    openings = [*hostile_files.FIRST.values(), *(code.encode("latin-1") for code in pickletools.code2op)]
    called = 0
    for _ in range(30_000):
        start = b"".join(draw.choice(openings) for _ in range(draw.randrange(1, 6)))
        if draw.random() < 0.5:
            start += draw.randbytes(draw.randrange(1, 4))
        data = start + b"cbuiltins\nopen\n(VX\nVw\ntR."
        if _calls(data):
            called += 1
            assert bytes_reach_out(data), data
    assert called > 2000


def _calls(data: bytes) -> bool:
    """Whether Python's unpickler, with a harmless function in place of all that it imports, calls it.

    The one written in Python: the other makes room for whatever number a memo's entry claims to have. Nor is room made here
    for what an array of bytes claims to hold: gigabytes, at times.
    """
    calls: list[object] = []

    class Harmless(pickle._Unpickler):  # type: ignore[name-defined, misc]
        def load_bytearray8(self) -> None:
            (size,) = struct.unpack("<Q", self.read(8))
            self.append(bytearray(self.read(size)))

        dispatch: ClassVar = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: load_bytearray8}  # type: ignore[attr-defined]

        def find_class(self, module: str, name: str) -> object:
            super().find_class(module, name)
            return lambda *given: calls.append(given)

    with contextlib.suppress(Exception):
        Harmless(io.BytesIO(data)).load()
    return bool(calls)


def test_programs_with_code_in_them_are_refused_and_none_of_it_is_run(tmp_path: Path, project: Path) -> None:
    place = Range(tmp_path / "program")
    good = tmp_path / "good.pt2"
    hostile_programs.save_program(good)
    assert inspect(project, good)[0] == 0
    place.fill(hostile_programs.programs(lambda name: str(place.marks / name), good), ".pt2")
    for path in place.files.iterdir():
        canary = tmp_path / "program/canaries" / path.stem / f"{hostile_programs.CANARY}.py"
        canary.parent.mkdir(parents=True)
        mark = str(place.marks / path.stem)
        canary.write_text(f"import enum\nKind = enum.Enum('Kind', 'A')\nopen({mark!r}, 'w')\n")
    assert len(list(place.files.iterdir())) >= 15
    assert place.silent("program") == []
    assert place.let_in(project) == []


@pytest.mark.parametrize(
    ("made", "least"), [(benign_files.programs, 12), (benign_files.scripts, 5), (benign_files.weights, 5)]
)
def test_what_the_libraries_write_is_let_in(
    tmp_path: Path, project: Path, made: Callable[[Path], Iterator[Path]], least: int
) -> None:
    refused = {}
    found = list(made(tmp_path))
    for number, path in enumerate(found):
        beside = path.with_name(f"{path.name}.data")
        if beside.exists():
            (project / beside.name).write_bytes(beside.read_bytes())
        code, said = inspected(project, path, number, path.name)
        if code != 0 or "no pickle" not in said:
            refused[path.name] = said
    assert refused == {}
    assert len(found) >= least


def test_what_lies_beside_weights_is_let_in(tmp_path: Path) -> None:
    found = list(benign_files.companions(tmp_path))
    assert len(found) >= 18
    assert [path.name for path in found if holds_pickle(path)] == []


def _zip_bomb(mebibytes: int, name: str) -> bytes:
    """A zip whose one member unpacks to so much: one packed mebibyte of nothing, again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    data, size = piece * mebibytes + b"\x03\x00", mebibytes << 20
    crc = 0
    entry = struct.pack("<HHHHHLLLHH", 20, 0, 8, 0, 33, crc, len(data), min(size, 0xFFFFFFFE), len(name), 0)
    local = b"PK\x03\x04" + entry + name.encode() + data
    central = b"PK\x01\x02" + struct.pack("<H", 20) + entry + bytes(14) + name.encode()
    end = struct.pack("<HHHHLLH", 0, 0, 1, 1, len(central), len(local), 0)
    return local + central + b"PK\x05\x06" + end


def _lying_zip(method: int, mebibytes: int) -> bytes:
    """A zip whose table says that its one member, packed by other means than deflate, has ten bytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        archive.writestr("a.npy", bytes(mebibytes << 20))
    data = bytearray(made.getvalue())
    for place in (14, data.index(b"PK\x01\x02") + 16):
        struct.pack_into("<L", data, place, zlib.crc32(bytes(10)))
        struct.pack_into("<L", data, place + 8, 10)
    return bytes(data)


BOMBS = {
    "block.npz": lambda: _lying_zip(zipfile.ZIP_BZIP2, 600),
    "text.zip": lambda: _zip_bomb(3000, "a.txt"),
    "program.pt2": lambda: _zip_bomb(3000, "m/models/model.json"),
    "array.npz": lambda: _zip_bomb(3000, "a.npy"),
    "words.gz": lambda: gzip.compress(gzip.compress(bytes(50 << 20)) * 40),
    "numbers.bin": lambda: b"N" * (50 << 20),
    "deep.json": lambda: b"[" * (5 << 20),
    "line.txt": lambda: b"V" + b"a" * (200 << 20),
    "liar.npy": lambda: hostile_files.array("'<f4'", bytes(4), shape="(1099511627776,)"),
    "deep.npy": lambda: hostile_files.array("(" * 60_000 + "'<f4'" + ")" * 60_000, bytes(4), version=2),
    "minus.npy": lambda: hostile_files.array("'<f4'", bytes(4), shape="(-1,)"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_looked_at_in_little_time_and_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(BOMBS[name]())
    looks = (
        "import re, sys\nfrom pathlib import Path\nfrom gradatim.models.pickles import holds_pickle\n"
        "found = holds_pickle(Path(sys.argv[1]))\n"
        "print(found, re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", looks, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    refused, kibibytes = done.stdout.split()
    assert (refused == "True") == (name not in ("deep.json", "line.txt"))
    assert int(kibibytes) < 400_000


def test_code_in_any_text_and_any_key_of_a_programs_tables_is_refused_or_never_run(tmp_path: Path) -> None:
    import torch

    good, bad, mark = tmp_path / "good.pt2", tmp_path / "bad.pt2", tmp_path / "mark"
    hostile_programs.save_program(good)
    let_in: set[str] = set()
    tried = 0
    for place, data in hostile_programs.with_each_text(good, f"open({str(mark)!r}, 'w')"):
        bad.write_bytes(data)
        tried += 1
        if holds_pickle(bad):
            continue
        with contextlib.suppress(InvalidInput):
            check_program(torch, bad)
            let_in.add(place)
            with contextlib.suppress(Exception):
                torch.export.load(str(bad)).module()(torch.ones(6, 4), scale=torch.tensor(2.0))
            assert not mark.exists(), place
    assert tried > 400
    assert let_in == {
        "metadata/stack_trace",
        "metadata/nn_module_stack",
        "metadata/torch_fn",
        "arg/as_string",
    }


EXPRESSIONS = {
    "powers": "9**9**9**9",
    "called": "Pow(Integer(2), Pow(Integer(2), Pow(Integer(2), Integer(60))))",
    "shift": "LShift(Integer(1), Integer(999999999999))",
    "brackets": "(" * 90 + "1" + ")" * 90 + "**99999999",
    "product": "Pow(Integer(10), Mul(Integer(99999999), Integer(99999999)))",
    "long": "+".join(["s0"] * 100_000),
    "deep": "-" * 50_000 + "s0",
    "digits": "1" * 5000,
}
GUARDS = {
    "factorial": "math.factorial(99999999) > 0",
    "combinations": "math.comb(999999999, 499999999) == L['x'].size()[0]",
    "rounded": "round(L['x'].size()[0], -999999999) == 0",
    "repeated": "L['x'].size()[0] == 'a' * 99999999999",
    "chosen": "('a' if L['x'].size()[0] > 1 else 'b') * 99999999999 == 'a'",
    "either": "('a' or L['x']) * 99999999999 == 'a'",
    "letter": "'ab'[0] * 99999999999 == 'a'",
}


def test_what_would_never_end_is_refused_at_once(tmp_path: Path) -> None:
    good = tmp_path / "good.pt2"
    hostile_programs.save_program(good)
    bad = tmp_path / "bad"
    bad.mkdir()
    for name, expression in EXPRESSIONS.items():
        (bad / f"{name}.pt2").write_bytes(hostile_programs.with_expression(good, expression))
    for name, guard in GUARDS.items():
        (bad / f"{name}.pt2").write_bytes(hostile_programs.with_guard(good, guard))
    before = b'"range_constraints": {'
    counted = before + b'"u9999999999": {"min_val": 0, "max_val": 9}, '
    (bad / "counted.pt2").write_bytes(hostile_programs.with_text(good, before, counted))
    _, blank = next(hostile_programs.scripts(lambda _: "nowhere"))
    (bad / "blank.pt").write_bytes(
        hostile_programs.with_member(blank, "code/__torch__.py", b"\n" + b" " * 20_000_000)
    )
    looks = (
        "import sys\nfrom pathlib import Path\nfrom gradatim.errors import InvalidInput\nfrom gradatim.models import inspect_model\n"
        "for path in Path(sys.argv[1]).iterdir():\n"
        "    try:\n        inspect_model(path, root=path.parent)\n"
        "    except InvalidInput as error:\n        print(path.stem, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", looks, str(bad)], capture_output=True, text=True, timeout=60, check=True
    )
    refused = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert set(refused) == {
        *EXPRESSIONS,
        *GUARDS,
        "counted",
        "blank",
    }  # the last by what it calls, not by its many blanks
    assert "u9999999999" in refused["counted"]
    assert all("as an expression" in refused[name] for name in EXPRESSIONS)
    assert all("as a guard" in refused[name] for name in GUARDS)


def _safetensors(header: dict[str, object], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "header",
    [
        {"a": ("F32", [2], [0, 8]), "b": ("F32", [2], [0, 8])},  # one over the other
        {"a": ("F32", [2], [0, 8]), "b": ("F32", [1], [4, 8])},
        {"a": ("U8", [3], [0, 3]), "b": ("U8", [4], [4, 8])},  # a gap, in which anything may lie
        {"a": ("F32", [1 << 40], [0, 8])},  # more numbers than bytes
        {"a": ("F32", [-2], [0, 8])},
    ],
)
def test_tensors_that_overlap_or_leave_a_gap_or_lie_about_their_size_are_invalid(
    tmp_path: Path, header: dict[str, tuple[str, list[int], list[int]]]
) -> None:
    path = tmp_path / "m.safetensors"
    entries = {
        name: {"dtype": dtype, "shape": shape, "data_offsets": place}
        for name, (dtype, shape, place) in header.items()
    }
    path.write_bytes(_safetensors(entries, bytes(8)))
    with pytest.raises(InvalidInput, match="safetensors"):
        inspect_model(path, root=tmp_path)
    assert holds_pickle(path)


def test_two_archives_in_one_file_are_refused_as_each_reader_would_see_another(tmp_path: Path) -> None:
    good = hostile_files.archive({"a.txt": b"hello"})
    bad = hostile_files.archive({"b.txt": b"other"})
    for name, data in {
        "before": b"junk" + good,
        "behind": good + b"junk",
        "both": good + bad,
        "noted": good[:-2] + b"\x05\x00hello",
    }.items():
        path = tmp_path / name
        path.write_bytes(data)
        assert holds_pickle(path), name
    twin = hostile_files.archive({"data.pkl": b"N.", "DATA.PKL": b"N."})
    path.write_bytes(twin)
    assert holds_pickle(path)


def test_a_name_with_a_line_break_is_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "hf"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(_safetensors({}, b""))
    (folder / "a\n::error::b.txt").write_text("hello")
    with pytest.raises(InvalidInput, match=r"a\\n::error::b"):
        inspect_model(folder, root=tmp_path)
    inside = tmp_path / "m.zip"
    inside.write_bytes(hostile_files.archive({"a\nb.txt": b"hello"}))
    assert holds_pickle(inside)


def test_what_an_onnx_model_keeps_outside_is_looked_at_too(tmp_path: Path) -> None:
    *_, outside, _ = benign_files.weights(tmp_path)
    data = outside.with_name(f"{outside.name}.data")
    assert inspect_model(outside, root=tmp_path).pickles == ()
    payload = hostile_files.body(str(tmp_path / "mark"))
    data.write_bytes((b"N0" + payload).ljust(data.stat().st_size))
    assert inspect_model(outside, root=tmp_path).pickles == (data.name,)
    with pytest.raises(InvalidInput, match=data.name):
        open_model(outside, root=tmp_path)


@pytest.mark.parametrize("length", range(6, 12))
def test_an_array_that_is_cut_off_in_its_first_bytes_is_doubted_without_a_traceback(
    tmp_path: Path, length: int
) -> None:
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr'"[:length])
    assert doubt(tmp_path / "a.npy") is not None
