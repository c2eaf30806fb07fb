"""Pickles are told by their bytes, whatever the file calls itself, and never loaded."""

from __future__ import annotations

import bz2
import collections
import gzip
import io
import lzma
import os
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.errors import InvalidInput
from gradatim.models import inspect_model, open_model
from gradatim.models.pickles import holds_pickle, looks_like_pickle


class Bomb:
    """Unpickling this makes a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("name", ["model.onnx", "model.pt", "weights.bin", "model.pkl", "model"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("compress", [bytes, gzip.compress, zlib.compress, bz2.compress, lzma.compress])
def test_a_pickle_under_any_name_is_refused_unexploded(
    tmp_path: Path, name: str, protocol: int, compress: Any
) -> None:
    path = tmp_path / name
    path.write_bytes(compress(pickle.dumps(Bomb(tmp_path / "boom"), protocol)))
    assert holds_pickle(path)
    with pytest.raises(InvalidInput, match="brings a pickle"):
        open_model(path, root=tmp_path)
    assert inspect_model(path, root=tmp_path).pickles == (name,)
    assert not (tmp_path / "boom").exists()


def test_a_joblib_model_is_refused_by_name(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    linear = pytest.importorskip("sklearn.linear_model")
    fitted = linear.LinearRegression().fit(np.arange(6.0).reshape(3, 2), np.arange(3.0))
    for compress in (0, 3, ("gzip", 3), ("xz", 1)):
        joblib.dump(fitted, tmp_path / "m.bin", compress=compress)
        with pytest.raises(InvalidInput, match=r"m\.bin brings a pickle"):
            open_model(tmp_path / "m.bin", root=tmp_path)
    with pytest.raises(InvalidInput, match=r"format: python"):
        open_model(joblib_named(tmp_path), root=tmp_path, allow_pickle=True)


def joblib_named(folder: Path) -> Path:
    return (folder / "m.bin").rename(folder / "m.joblib")


def test_a_pickle_within_archives_is_found(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("notes.txt", pickle.dumps(Bomb(tmp_path / "boom")))
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
        archive.writestr("inner.zip", inner.getvalue())
    assert holds_pickle(path)
    np.savez(tmp_path / "good.npz", a=np.ones(3))
    assert not holds_pickle(tmp_path / "good.npz")
    np.savez(tmp_path / "bad.npz", a=np.array([{}, 1], object))
    assert holds_pickle(tmp_path / "bad.npz")


def test_an_archive_with_two_members_of_one_name_is_suspicious(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", "2")
    assert holds_pickle(path)


@pytest.mark.parametrize("foreign", [os.system, eval, collections.Counter])
def test_a_torchscript_archive_that_imports_anything_foreign_is_a_pickle(
    tmp_path: Path, foreign: Any
) -> None:
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/code/__torch__.py", "")
        archive.writestr("m/constants.pkl", pickle.dumps((), 2))
        archive.writestr("m/data.pkl", pickle.dumps(collections.OrderedDict(), 2))
    assert not holds_pickle(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("m/other.pkl", pickle.dumps(foreign, 2))
    assert holds_pickle(path)


@given(st.text(max_size=300))
def test_plain_text_is_no_pickle(text: str) -> None:
    prose = f"import os\n{text}"
    assert not looks_like_pickle(b"{" + prose.encode("utf-8", "replace"))


@given(
    st.recursive(
        st.integers() | st.text() | st.binary(), lambda inner: st.lists(inner, min_size=1), max_leaves=5
    ),
    st.integers(2, 5),
)
def test_every_modern_pickle_is_one(value: Any, protocol: int) -> None:
    assert looks_like_pickle(pickle.dumps(value, protocol))


@pytest.mark.parametrize(
    "text", ["import os\nfoo\n.", "(c) 2026 the authors\nall rights\n.", "include a\nb\n", "c\n"]
)
def test_a_readme_is_no_pickle(tmp_path: Path, text: str) -> None:
    path = tmp_path / "readme.md"
    path.write_text(text)
    assert not holds_pickle(path)


def test_what_lies_about_in_a_models_folder_may_be_taken_away_rather_than_trusted(tmp_path: Path) -> None:
    """A text as Windows' PowerShell writes it, and what macOS leaves behind."""
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    (tmp_path / "notes.txt").write_text("trained on Monday", encoding="utf-16")
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    with pytest.raises(
        InvalidInput, match=r"\.DS_Store: .*notes\.txt: .*Take away what the model does not need"
    ):
        open_model(tmp_path, root=tmp_path)
