"""Data sets as batches: every format, the mapping to a model's inputs, and how broken data is refused."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.data import Dataset, data_digest, open_data
from gradatim.errors import GradatimError, InvalidInput, UsageError
from gradatim.files import sha256_file
from gradatim.signature import Signature, TensorSpec


def takes(*inputs: tuple[str, str, tuple[int | str | None, ...] | None]) -> Signature:
    return Signature(tuple(TensorSpec(*spec) for spec in inputs), ())


FLAT = takes(("x", "float32", ("batch", 4)))


def write_npz(folder: Path, name: str = "data.npz", compressed: bool = False, **arrays: Any) -> str:
    (np.savez_compressed if compressed else np.savez)(folder / name, **arrays)
    return name


def everything(dataset: Dataset, size: int = 7) -> dict[str, np.ndarray[Any, Any]]:
    batches = list(dataset.batches(size))
    return {name: np.concatenate([batch.inputs[name] for batch in batches]) for name in batches[0].inputs}


# npz -----------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 40),
    size=st.integers(1, 50),
    compressed=st.booleans(),
    dtype=st.sampled_from(["<f4", ">f4", "<i8", "u1", "?", "<U3"]),
    fortran=st.booleans(),
)
def test_npz_batches_are_the_rows_of_the_file(
    tmp_path_factory: pytest.TempPathFactory,
    rows: int,
    size: int,
    compressed: bool,
    dtype: str,
    fortran: bool,
) -> None:
    folder = tmp_path_factory.mktemp("npz")
    x = np.arange(rows * 6).reshape(rows, 2, 3).astype(dtype)
    x = np.asfortranarray(x) if fortran else x
    data = open_data(write_npz(folder, compressed=compressed, x=x, label=np.arange(rows)), root=folder)
    batches = list(data.batches(size))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert np.array_equal(np.concatenate([batch.items for batch in batches]), np.arange(rows))
    assert np.array_equal(np.concatenate([batch.labels for batch in batches]), np.arange(rows))
    whole = np.concatenate([batch.inputs["x"] for batch in batches])
    assert np.array_equal(whole.astype(x.dtype), x)
    assert all(batch.inputs["x"].dtype.isnative and batch.inputs["x"].flags.c_contiguous for batch in batches)
    assert len(data) == rows


def test_the_only_array_feeds_the_only_input_whatever_its_name(tmp_path: Path) -> None:
    source = write_npz(
        tmp_path,
        images=np.ones((5, 4), np.float32),
        label=np.arange(5),
        hospital=np.array(["a"] * 5),
        names=np.arange(10),
    )
    data = open_data(source, root=tmp_path, signature=FLAT, slices=["hospital"])
    batch = data.head(2)
    assert list(batch.inputs) == ["x"]
    assert batch.slices["hospital"].tolist() == ["a", "a"]


def test_npz_values_are_never_converted(tmp_path: Path) -> None:
    data = open_data(
        write_npz(tmp_path, x=np.ones((3, 4)), label=np.arange(3)), root=tmp_path, signature=FLAT
    )
    assert data.head(3).inputs["x"].dtype == np.float64


def test_columns_are_renamed_and_put_side_by_side(tmp_path: Path) -> None:
    source = write_npz(tmp_path, a=np.arange(3.0), b=np.arange(3.0) + 10, label=np.arange(3))
    data = open_data(source, root=tmp_path, signature=FLAT, inputs={"x": ["b", "a"]})
    assert data.head(2).inputs["x"].tolist() == [[10, 0], [11, 1]]


def test_two_arrays_for_one_input_ask_which(tmp_path: Path) -> None:
    source = write_npz(tmp_path, a=np.ones((3, 4)), b=np.ones((3, 4)), label=np.arange(3))
    with pytest.raises(
        InvalidInput, match=r"no column for the model's input `x`.*a, b.*inputs: \{x: COLUMN\}"
    ):
        open_data(source, root=tmp_path, signature=FLAT)


def test_groups_are_carried_through(tmp_path: Path) -> None:
    source = write_npz(tmp_path, x=np.ones((3, 4)), label=np.arange(3), user=np.array([7, 7, 8]))
    data = open_data(source, root=tmp_path, group="user")
    groups = data.head(3).groups
    assert groups is not None
    assert groups.tolist() == ["7", "7", "8"]
    assert list(data.head(3).inputs) == ["x"]


# tables --------------------------------------------------------------------------------------------

TABLE = [
    {"a": 1.5, "b": 2, "c": -3.25, "d": 4, "label": "cat", "site": "north"},
    {"a": 0.1, "b": 0, "c": 1.0, "d": 5, "label": "dog", "site": "south"},
    {"a": 2.0, "b": 1, "c": 2.5, "d": 6, "label": "cat", "site": "north"},
]


def write_table(folder: Path, kind: str, rows: list[dict[str, Any]] = TABLE) -> str:
    path = folder / f"tafel mit ümlaut.{kind}"
    if kind == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    else:
        mark = {"csv": ",", "tsv": "\t"}[kind]
        lines = [mark.join(rows[0]), *(mark.join(str(value) for value in row.values()) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    return path.name


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_stacks_its_features_in_the_models_dtype(kind: str, tmp_path: Path) -> None:
    data = open_data(write_table(tmp_path, kind), root=tmp_path, signature=FLAT, slices=["site"])
    x = everything(data, 2)["x"]
    assert x.dtype == np.float32
    assert x.tolist() == np.array([[1.5, 2, -3.25, 4], [0.1, 0, 1, 5], [2, 1, 2.5, 6]], np.float32).tolist()
    labels = data.labels()
    assert labels is not None
    assert labels.tolist() == ["cat", "dog", "cat"]
    assert data.slice_values("site").tolist() == ["north", "south", "north"]
    assert data.classes() == ["cat", "dog"]
    assert len(data) == 3


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_columns_named_like_inputs_feed_them_with_the_declared_axes(kind: str, tmp_path: Path) -> None:
    signature = takes(("a", "float32", ("batch", 1)), ("d", "int32", ("batch",)))
    data = open_data(write_table(tmp_path, kind), root=tmp_path, signature=signature, slices=["site"])
    inputs = data.head(3).inputs
    assert inputs["a"].shape == (3, 1)
    assert inputs["d"].shape == (3,)
    assert inputs["d"].dtype == np.int32


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("dtype", "bad"),
    [("int64", 1.5), ("int8", 300), ("uint8", -1), ("float32", 16777217), ("float16", 1e9), ("bool", 2)],
)
def test_a_value_that_the_dtype_cannot_hold_is_refused_by_row_and_column(
    kind: str, dtype: str, bad: float, tmp_path: Path
) -> None:
    rows = [{"a": type(bad)(1), "label": 0}, {"a": type(bad)(0), "label": 1}, {"a": bad, "label": 1}]
    data = open_data(write_table(tmp_path, kind, rows), root=tmp_path, signature=takes(("a", dtype, ("n",))))
    with pytest.raises(InvalidInput, match=rf"Row 3 of .*`a`.*{dtype}|Row 3 of .*`a`.*not true or false"):
        list(data.batches(2))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_text_or_a_gap_in_a_numeric_column_is_refused_by_row_and_column(kind: str, tmp_path: Path) -> None:
    for value in ("many", "", None):
        rows: list[dict[str, Any]] = [{"a": "1", "label": 0}, {"a": value, "label": 1}]
        if kind == "csv":
            rows[1]["a"] = value or ""
        data = open_data(
            write_table(tmp_path, kind, rows), root=tmp_path, signature=takes(("a", "float32", ("n",)))
        )
        with pytest.raises(InvalidInput, match=r"Row 2 of .*`a`"):
            list(data.batches(8))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "2"], [1, 2]),
        (["1", "2.5"], [1.0, 2.5]),
        (["007", "008"], ["007", "008"]),
        (["1", "cat"], ["1", "cat"]),
    ],
)
def test_csv_labels_are_numbers_only_when_all_of_them_are(
    values: list[str], expected: list[Any], tmp_path: Path
) -> None:
    source = write_table(tmp_path, "csv", [{"a": 1, "label": value} for value in values])
    labels = open_data(source, root=tmp_path).labels()
    assert labels is not None
    assert labels.tolist() == expected


def test_lists_in_a_row_become_arrays(tmp_path: Path) -> None:
    rows = [{"x": [1, 2, 3, 4], "label": [0, 1]}, {"x": [5, 6, 7, 8], "label": [1, 1]}]
    for kind in ("jsonl", "parquet"):
        batch = open_data(write_table(tmp_path, kind, rows), root=tmp_path, signature=FLAT).head(2)
        assert batch.inputs["x"].dtype == np.float32
        assert batch.inputs["x"].shape == (2, 4)
        assert batch.labels is not None
        assert batch.labels.tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_rows_of_unequal_length_are_batched_as_long_as_they_agree(kind: str, tmp_path: Path) -> None:
    lengths = [3, 3, 2, 3, 3, 3]
    rows = [{"ids": list(range(1, n + 1)), "label": i} for i, n in enumerate(lengths)]
    signature = takes(("ids", "int64", ("batch", "sequence")))
    data = open_data(write_table(tmp_path, kind, rows), root=tmp_path, signature=signature)
    shapes = [batch.inputs["ids"].shape for batch in data.batches(4)]
    assert shapes == [(2, 3), (1, 2), (1, 3), (2, 3)]
    assert [batch.start for batch in data.batches(4)] == [0, 2, 3, 4]
    assert data.head(4).inputs["ids"].shape == (2, 3)


def test_the_number_of_features_must_be_the_models(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"takes 3 features.*has 5 columns.*a, b, c, d, site"):
        open_data(write_table(tmp_path, "csv"), root=tmp_path, signature=takes(("x", "float32", (None, 3))))


def test_without_a_signature_every_column_is_an_input(tmp_path: Path) -> None:
    inputs = open_data(write_table(tmp_path, "csv"), root=tmp_path).head(2).inputs
    assert {name: values.dtype.kind for name, values in inputs.items()} == {
        "a": "f", "b": "i", "c": "f", "d": "i", "site": "O",
    }  # fmt: skip


# folders -------------------------------------------------------------------------------------------


def test_an_image_folder_has_its_class_folders_as_labels(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for name, color in (("katze/1.png", 10), ("katze/2.JPG", 20), ("hund/süß.png", 30)):
        path = tmp_path / "bilder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.new("RGB", (5, 4), (color, 0, 0)).save(path)
    (tmp_path / "bilder" / "LICENSE").write_text("beside the classes, not data")
    data = open_data(
        "bilder", root=tmp_path, signature=takes(("x", "uint8", ("b", "h", "w", 3))), labels=["hund", "katze"]
    )
    batch = data.head(3)
    assert batch.inputs["x"].shape == (3, 4, 5, 3)
    assert batch.inputs["x"].dtype == np.uint8
    assert batch.labels is not None
    assert batch.labels.tolist() == ["hund", "katze", "katze"]


def test_images_of_different_sizes_make_shorter_batches(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "f" / "0").mkdir(parents=True)
    for number, size in enumerate([(4, 4), (4, 4), (6, 4)]):
        image.new("L", size).save(tmp_path / "f" / "0" / f"{number}.png")
    data = open_data("f", root=tmp_path, signature=takes(("x", "uint8", None)))
    assert [batch.inputs["x"].shape for batch in data.batches(8)] == [(2, 4, 4), (1, 4, 6)]
    assert data.classes() == [0]


def test_a_sound_folder_gives_samples_between_minus_one_and_one(tmp_path: Path) -> None:
    from scipy.io import wavfile

    (tmp_path / "s" / "ja").mkdir(parents=True)
    wavfile.write(tmp_path / "s" / "ja" / "a.wav", 8000, np.array([-32768, 0, 16384], np.int16))
    (tmp_path / "rate.py").write_text("def f(c): return {'x': c['audio'] * c['sampling_rate'][:, None]}\n")
    batch = open_data("s", root=tmp_path, signature=takes(("x", "float32", None))).head(1)
    assert batch.inputs["x"].dtype == np.float32
    assert batch.inputs["x"].tolist() == [[-1.0, 0.0, 0.5]]
    scaled = open_data("s", root=tmp_path, preprocess="rate:f").head(1)
    assert scaled.inputs["x"].tolist() == [[-8000.0, 0.0, 4000.0]]


def test_a_damaged_image_is_refused_by_name(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "f" / "0").mkdir(parents=True)
    image.new("RGB", (64, 64)).save(tmp_path / "f" / "0" / "a.png")
    (tmp_path / "f" / "0" / "a.png").write_bytes((tmp_path / "f" / "0" / "a.png").read_bytes()[:60])
    with pytest.raises(InvalidInput, match=r"a\.png cannot be decoded"):
        open_data("f", root=tmp_path).head(1)
    (tmp_path / "f" / "0" / "note.txt").write_text("")
    with pytest.raises(InvalidInput, match=r"note\.txt is neither"):
        open_data("f", root=tmp_path)


# module:function -----------------------------------------------------------------------------------

FUNCTIONS = """
import numpy as np
calls = []
def arrays(): return {"x": np.ones((5, 4), np.float32), "label": np.arange(5)}
def rows(): return [{"x": [1.0, 2.0], "label": "a"}, {"x": [3.0, 4.0], "label": "b"}]
def stream():
    calls.append(1)
    for i in range(5):
        yield {"x": np.full(4, i, np.float32), "label": i}
class Pairs:
    def __len__(self): return 3
    def __getitem__(self, i):
        if i >= 3: raise IndexError
        return np.full(2, i, np.float32), i
def pairs(): return Pairs()
def fails(): raise KeyError("no such bucket")
def number(): return 3
def uneven():
    yield {"x": 1.0, "label": 0}
    yield {"x": 1.0}
def reads(): return arrays()
reads.paths = ["blob.bin"]
"""


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    (tmp_path / "rows_of.py").write_text(FUNCTIONS)
    return tmp_path


def test_a_function_may_return_arrays_rows_a_stream_or_pairs(functions: Path) -> None:
    signature = takes(("x", "float32", None))
    assert everything(open_data("rows_of:arrays", root=functions, signature=signature))["x"].shape == (5, 4)
    assert everything(open_data("rows_of:rows", root=functions, signature=signature))["x"].tolist() == [
        [1, 2],
        [3, 4],
    ]
    stream = open_data("rows_of:stream", root=functions, signature=signature)
    for _ in range(2):
        assert everything(stream, 2)["x"][:, 0].tolist() == [0, 1, 2, 3, 4]
    assert stream.classes() == [0, 1, 2, 3, 4]
    pairs = open_data("rows_of:pairs", root=functions, signature=signature)
    assert everything(pairs)["x"].tolist() == [[0, 0], [1, 1], [2, 2]]
    labels = pairs.labels()
    assert labels is not None
    assert labels.tolist() == [0, 1, 2]


def test_a_function_that_fails_is_one_paragraph(functions: Path) -> None:
    with pytest.raises(InvalidInput, match=r"rows_of\.py:\d+: KeyError: 'no such bucket'"):
        open_data("rows_of:fails", root=functions)
    with pytest.raises(InvalidInput, match="returned a int"):
        open_data("rows_of:number", root=functions)
    with pytest.raises(InvalidInput, match=r"Row 2 of .* has no `label`"):
        list(open_data("rows_of:uneven", root=functions).batches(4))
    with pytest.raises(UsageError, match="module:function"):
        open_data("rows_of", root=functions, format="function")


def test_the_digest_of_a_function_covers_its_code_and_declared_paths(functions: Path) -> None:
    (functions / "blob.bin").write_bytes(b"1")
    first = data_digest("rows_of:reads", root=functions)
    (functions / "blob.bin").write_bytes(b"2")
    second = data_digest("rows_of:reads", root=functions)
    (functions / "rows_of.py").write_text(FUNCTIONS + "\n")
    assert len({first, second, data_digest("rows_of:reads", root=functions)}) == 3


# preprocessing -------------------------------------------------------------------------------------

PREPROCESS = """
import numpy as np
def tokenize(columns):
    assert isinstance(columns["text"], list) and "label" not in columns, columns
    longest = max(len(t) for t in columns["text"])
    ids = [[ord(c) for c in t] + [0] * (longest - len(t)) for t in columns["text"]]
    return {"ids": ids, "not_an_input": 1}
def align(columns):
    lengths = np.array([[len(t)] for t in columns["text"]])
    return {"ids": lengths, "tags": np.full_like(lengths, 7)}
def missing(columns): return {"other": 1}
def short(columns): return {"ids": np.zeros((1, 2), np.int64)}
def fails(columns): return {"ids": columns["txt"]}
def nan(columns): return {"ids": np.full((len(columns["text"]), 1), np.nan)}
"""


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    (tmp_path / "prep.py").write_text(PREPROCESS)
    rows = [{"text": text, "label": i, "tags": [1]} for i, text in enumerate(["ab", "abc", "", "größer"])]
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return tmp_path


IDS = takes(("ids", "int64", ("batch", "sequence")))


def test_text_reaches_preprocessing_as_a_list_and_perturbed_batches_go_the_same_way(texts: Path) -> None:
    data = open_data("t.jsonl", root=texts, signature=IDS, preprocess="prep:tokenize")
    assert [batch.inputs["ids"].shape for batch in data.batches(3)] == [(3, 3), (1, 6)]
    raw = next(data.raw_batches(4))
    assert raw.inputs["text"].tolist() == ["ab", "abc", "", "größer"]
    shouted = raw.with_inputs({"text": np.array([t.upper() for t in raw.inputs["text"]], dtype=object)})
    assert data.prepare(shouted).inputs["ids"][0, :2].tolist() == [65, 66]


def test_preprocessing_may_align_the_labels(texts: Path) -> None:
    data = open_data(
        "t.jsonl",
        root=texts,
        signature=IDS,
        label="tags",
        inputs={"ids": ["text", "tags"]},
        preprocess="prep:align",
    )
    labels = data.head(2).labels
    assert labels is not None
    assert labels.tolist() == [[7], [7]]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("missing", "returned other, but the model also takes `ids`"),
        ("short", "given 4 rows and returned 1 for `ids`"),
        ("fails", r"prep\.py:\d+: KeyError: 'txt'"),
        ("nan", "Row 1 of .*after `prep:nan`: `ids` holds nan"),
    ],
)
def test_preprocessing_that_goes_wrong_is_explained(function: str, message: str, texts: Path) -> None:
    data = open_data("t.jsonl", root=texts, signature=IDS, preprocess=f"prep:{function}")
    with pytest.raises(InvalidInput, match=message):
        data.head(4)


# refusals ------------------------------------------------------------------------------------------


def refused(source: str, root: Path, **options: Any) -> str:
    with pytest.raises(GradatimError) as refusal:
        for _ in open_data(source, root=root, **options).batches(4):
            pass
    text = str(refusal.value)
    assert "\n" not in text
    return text


def test_files_that_are_no_data_are_refused(tmp_path: Path) -> None:
    assert "does not exist" in refused("gone.npz", tmp_path)
    for suffix in ("npz", "parquet", "csv", "jsonl"):
        (tmp_path / f"empty.{suffix}").touch()
        assert "empty file" in refused(f"empty.{suffix}", tmp_path)
        (tmp_path / f"lfs.{suffix}").write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
        )
        assert "git lfs pull" in refused(f"lfs.{suffix}", tmp_path)
    (tmp_path / "x.cvs").write_text("a,label\n")
    assert "Did you mean `.csv`" in refused("x.cvs", tmp_path)
    (tmp_path / "folder").mkdir()
    assert "holds no data" in refused("folder", tmp_path)


def test_an_empty_data_set_is_refused(tmp_path: Path) -> None:
    for name, text in (("a.csv", "a,label\n"), ("b.csv", "a,label"), ("c.jsonl", "\n\n")):
        (tmp_path / name).write_text(text)
        assert "is empty" in refused(name, tmp_path)
    assert "is empty" in refused(write_npz(tmp_path, x=np.ones((0, 4)), label=np.ones(0)), tmp_path)
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    parquet.write_table(
        pyarrow.table({"x": pyarrow.array([], pyarrow.float32()), "label": []}), tmp_path / "d.parquet"
    )
    assert "is empty" in refused("d.parquet", tmp_path)


@pytest.mark.parametrize("kind", ["npz", "compressed", "parquet"])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(kind: str, kept: float, tmp_path: Path) -> None:
    if kind == "parquet":
        name = write_table(tmp_path, "parquet", [{"x": float(i), "label": i} for i in range(500)])
    else:
        noise = np.random.default_rng(0).random((500, 4))
        name = write_npz(tmp_path, compressed=kind == "compressed", x=noise, label=np.arange(500))
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * kept)])
    assert "truncated or not" in refused(name, tmp_path)


def test_a_flipped_byte_in_an_npz_is_noticed(tmp_path: Path) -> None:
    name = write_npz(tmp_path, x=np.ones((500, 4)), label=np.arange(500))
    data = bytearray((tmp_path / name).read_bytes())
    data[5000] ^= 1
    (tmp_path / name).write_bytes(data)
    assert "truncated or not" in refused(name, tmp_path)


def test_a_header_that_announces_more_than_there_is_never_allocates_it(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 8)}"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n" + b"\0" * 64
    with zipfile.ZipFile(tmp_path / "big.npz", "w") as archive:
        archive.writestr("x.npy", member)
    assert "truncated: 64000000000000 bytes are announced, 64 are there" in refused(
        "big.npz", tmp_path, label=None
    )


def test_pickles_and_foreign_members_are_refused_unopened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "executed",)

    np.savez(tmp_path / "bomb.npz", x=np.array([Bomb()], dtype=object), label=np.arange(1))
    assert "only a pickle can hold" in refused("bomb.npz", tmp_path)
    with zipfile.ZipFile(tmp_path / "foreign.npz", "w") as archive:
        archive.writestr("x.npy", pickle.dumps(Bomb()))
    assert "which is not an array" in refused("foreign.npz", tmp_path)
    (tmp_path / "f" / "0").mkdir(parents=True)
    np.save(tmp_path / "f" / "0" / "a.npy", np.array([Bomb()], dtype=object))
    assert "cannot be decoded" in refused("f", tmp_path)
    assert not (tmp_path / "executed").exists()


def test_missing_columns_are_named_with_the_nearest(tmp_path: Path) -> None:
    name = write_table(tmp_path, "csv")
    assert "Did you mean `label`? Say `label: null`" in refused(name, tmp_path, label="lable")
    assert "no column `sight`" in refused(name, tmp_path, slices=["sight"])
    assert "no column `e`" in refused(name, tmp_path, signature=FLAT, inputs={"x": ["a", "e"]})
    assert "no input `y`" in refused(name, tmp_path, signature=FLAT, inputs={"y": ["a"]})


def test_columns_of_unequal_length_are_refused(tmp_path: Path) -> None:
    name = write_npz(tmp_path, x=np.ones((5, 4)), label=np.arange(4))
    assert "differ in length: `label` 4, `x` 5" in refused(name, tmp_path, signature=FLAT)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_in_an_input_are_refused_by_row(value: float, tmp_path: Path) -> None:
    x = np.zeros((50, 3, 3), np.float32)
    x[41, 1, 2] = value
    assert f"Row 42 of {tmp_path / 'data.npz'}: `x` holds {value}" in refused(
        write_npz(tmp_path, x=x, label=np.arange(50)), tmp_path
    )


def test_large_finite_values_are_not_taken_for_infinity(tmp_path: Path) -> None:
    x = np.full((50, 3), np.finfo(np.float32).max, np.float32)
    assert everything(open_data(write_npz(tmp_path, x=x, label=np.arange(50)), root=tmp_path))["x"].shape == (
        50,
        3,
    )


def test_items_of_length_zero_are_refused(tmp_path: Path) -> None:
    assert "length zero" in refused(write_npz(tmp_path, x=np.ones((3, 0)), label=np.arange(3)), tmp_path)
    (tmp_path / "a.jsonl").write_text('{"x": [1], "label": 0}\n{"x": [], "label": 0}\n')
    assert "Row 2" in refused("a.jsonl", tmp_path)
    (tmp_path / "b.jsonl").write_text('{"x": "", "label": 0}\n')
    assert "Row 1" in refused("b.jsonl", tmp_path)


@pytest.mark.parametrize(
    ("labels", "values", "bad"),
    [
        ([0, 1, 2], [0, 1, 7, 2], "Row 3 .*is 7"),
        (["cat", "dog"], ["cat", "cow"], "Row 2 .*is 'cow'"),
        (["cat", "dog"], [0, 1, 2], "Row 3 .*is 2"),
        (["cat", "dog"], [0, -1], "Row 2 .*is -1"),
        ([0, 1], [0.0, 0.5], "Row 2 .*is 0.5"),
    ],
)
def test_labels_outside_the_label_list_are_refused_by_row(
    labels: list[Any], values: list[Any], bad: str, tmp_path: Path
) -> None:
    name = write_npz(tmp_path, x=np.ones((len(values), 2)), label=np.array(values))
    with pytest.raises(InvalidInput, match=f"{bad}.*not in the label list"):
        list(open_data(name, root=tmp_path, labels=labels).batches(3))


def test_positions_that_do_not_count_are_no_label(tmp_path: Path) -> None:
    name = write_npz(tmp_path, x=np.ones((2, 2)), label=np.array([[0, -100], [1, -100]]))
    data = open_data(name, root=tmp_path, labels=["O", "PER"])
    assert data.classes() == [0, 1]


def test_missing_labels_are_refused_by_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,label\n1,0\n2,\n")
    assert "Row 2" in refused("a.csv", tmp_path)
    name = write_npz(tmp_path, x=np.ones((2, 2)), label=np.array([0.5, np.nan]))
    assert "Row 2" in refused(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", b"x,label\n1,2\n3\n", "Row 2 .* has 1 cells, the header has 2"),
        ("b.csv", b'x,label\n"1,2\n', "cannot be read as csv"),
        ("c.csv", b"x,x\n1,2\n", "names the column `x` twice"),
        ("d.csv", b"x,label\n\xff\xfe,1\n", "not UTF-8"),
        ("e.jsonl", b'{"x": 1, "label": 2}\n{"x": 1, "la', r"e\.jsonl:2 is not valid JSON"),
        ("f.jsonl", b'{"x": NaN, "label": 2}\n', "NaN is not a number"),
        ("g.jsonl", b"[1]\n", "not a JSON object"),
        ("h.jsonl", b'{"x": 1, "label": 2}\n{"x": 1}\n', r"h\.jsonl:2 has no `label`"),
        ("i.jsonl", b'{"x": [1, [2]], "label": 2}\n', "Row 1"),
        ("j.jsonl", b'{"x": {"y": 1}, "label": 2}\n', "Row 1"),
        ("k.jsonl", b'{"x": 1, "label": 2}\n{"x": 1, "label": [2]}\n', r"Row 2 .*`label` is \[2\]"),
    ],
)
def test_broken_text_files_are_refused_with_their_line(
    name: str, text: bytes, message: str, tmp_path: Path
) -> None:
    import re

    (tmp_path / name).write_bytes(text)
    assert re.search(message, refused(name, tmp_path, signature=takes(("x", "float32", ("n",)))))


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@pytest.mark.parametrize("before", ["", "row"])
def test_a_line_that_is_longer_than_a_row_may_be_is_refused_in_little_memory(
    ending: str, before: str, tmp_path: Path
) -> None:
    good = {"csv": b"x,label\n1,2\n", "jsonl": b'{"x": 1, "label": 2}\n'}[ending]
    path = tmp_path / f"long.{ending}"
    path.write_bytes((good if before else b"") + b" ")
    with path.open("r+b") as file:
        file.truncate(1 << 30)  # of zeros, which take no place on the disk
    tracemalloc.start()
    try:
        assert "longer than" in refused(path.name, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 400_000_000
    finally:
        tracemalloc.stop()


def test_a_parquet_file_whose_cells_unpack_to_more_than_memory_is_refused_unread(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    numbers = pyarrow.array(np.zeros(36_000_000, np.int64))
    for name, rows in {"deep": 1, "wide": 20}.items():
        ends = np.arange(rows + 1, dtype=np.int32) * (len(numbers) // rows)
        lists = pyarrow.ListArray.from_arrays(pyarrow.array(ends), numbers)
        table = pyarrow.table({"x": lists, "label": np.zeros(rows, np.int64)})
        parquet.write_table(table, tmp_path / f"{name}.parquet", compression="zstd", use_dictionary=False)
        assert (tmp_path / f"{name}.parquet").stat().st_size < 1 << 20
        before = pyarrow.total_allocated_bytes()
        assert "MB at once" in refused(f"{name}.parquet", tmp_path)
        assert pyarrow.total_allocated_bytes() == before


def test_a_header_of_very_many_columns_is_read_at_once(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(100_000)]
    for last, told in (
        ("label", "no column for the model's input `x`"),
        ("c7", "names the column `c7` twice"),
    ):
        text = ",".join([*names, last]) + "\n" + "1," * len(names) + "1\n"
        (tmp_path / "wide.csv").write_text(text, encoding="utf-8")
        began = time.process_time()
        assert told in refused("wide.csv", tmp_path, signature=takes(("x", "float32", ("n",))))
        assert time.process_time() - began < 5


def test_a_data_set_of_one_class_is_a_fact_to_report(tmp_path: Path) -> None:
    data = open_data(write_npz(tmp_path, x=np.ones((4, 2)), label=np.ones(4, int)), root=tmp_path)
    assert data.classes() == [1]


# digest, cost -----------------------------------------------------------------------------


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    first = data_digest(write_table(tmp_path, "csv"), root=tmp_path)
    (tmp_path / "moved.csv").write_bytes((tmp_path / "tafel mit ümlaut.csv").read_bytes())
    assert data_digest("moved.csv", root=tmp_path) == first
    with (tmp_path / "moved.csv").open("a") as file:
        file.write("1,2,3,4,cat,north\n")
    assert data_digest("moved.csv", root=tmp_path) != first


def test_the_digest_needs_no_reading_of_rows(functions: Path) -> None:
    name = write_npz(functions, x=np.ones((5, 4)), label=np.arange(5), names=np.arange(9))
    assert data_digest(name, root=functions) == sha256_file(functions / name)
    assert data_digest("rows_of:fails", root=functions)
    (functions / "blob.bin").write_bytes(b"1")
    assert data_digest("rows_of:reads", root=functions)
    (functions / "lfs.npz").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InvalidInput, match="git lfs pull"):
        data_digest("lfs.npz", root=functions)


MEMORY = """
import resource, sys
from pathlib import Path
from gradatim.data import open_data
if sys.argv[1].endswith("parquet"): import pyarrow.parquet
data = open_data(sys.argv[1], root=Path(sys.argv[2]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = sum(len(batch) for batch in data.batches(256))
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("kind", ["npz", "compressed", "fortran", "csv", "jsonl", "parquet"])
def test_memory_stays_flat_however_many_rows(kind: str, tmp_path: Path) -> None:
    rows, width = (200_000, 64) if kind in ("npz", "compressed", "fortran") else (120_000, 4)
    x = np.random.default_rng(0).integers(0, 9, (rows, width)).astype(np.float32)  # 51 MB
    if kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        import pyarrow.parquet as parquet

        table = pyarrow.table(
            {"label": np.arange(rows), **{f"x{i}": np.random.rand(rows) for i in range(64)}}
        )
        parquet.write_table(table, tmp_path / "d.parquet")  # one row group of 62 MB
        name = "d.parquet"
    elif kind == "csv":
        name = "d.csv"
        (tmp_path / name).write_text("label,a,b\n" + "".join(f"{i},{i * 0.37:.40f},1\n" for i in range(rows)))
    elif kind == "jsonl":
        name = "d.jsonl"
        (tmp_path / name).write_text(
            "".join(f'{{"label": {i}, "x": [{i}, 2, 3, 4.5, 6]}}\n' for i in range(rows))
        )
    else:
        x = np.asfortranarray(x) if kind == "fortran" else x
        name = write_npz(tmp_path, compressed=kind == "compressed", x=x, label=np.arange(rows))
    script = [sys.executable, "-c", MEMORY, name, str(tmp_path)]
    counted, kilobytes = subprocess.run(script, check=True, capture_output=True, text=True).stdout.split()
    assert int(counted) == rows
    assert int(kilobytes) < 30_000 if kind != "fortran" else int(kilobytes) < 80_000


def test_a_column_that_feeds_the_model_can_be_sliced_and_grouped_by(tmp_path: Path) -> None:
    rows = "".join(f"{i},{('north', 'south')[i % 2]},u{i // 2},{i}\n" for i in range(8))
    (tmp_path / "rent.csv").write_text(f"area,district,user,rent\n{rows}")
    signature = takes(("area", "float32", ("n", 1)), ("district", "str", ("n", 1)), ("user", "str", ("n", 1)))
    opened = open_data(
        "rent.csv", root=tmp_path, label="rent", signature=signature, slices=["district"], group="user"
    )
    (batch,) = opened.batches(8)
    assert batch.inputs["district"].ravel().tolist() == batch.slices["district"].tolist()
    assert batch.inputs["user"].shape == (8, 1)
    assert batch.groups is not None
    assert batch.groups.tolist() == batch.inputs["user"].ravel().tolist()
