"""The robustness catalogue: the same for an item wherever it is, and worse by severity."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gradatim.checks.abnormal_inputs import abnormal_inputs
from gradatim.errors import InvalidInput, UsageError
from gradatim.perturb import catalogue
from gradatim.perturb.apply import corrupt, corrupt_inputs
from gradatim.perturb.modality import Modality, fit_reference, modality_of
from gradatim.signature import Signature, TensorSpec

Array = NDArray[Any]


def digits() -> Array:
    from sklearn.datasets import load_digits

    return np.asarray(load_digits().data, np.float32)


def table() -> Array:
    from sklearn.datasets import load_wine

    return np.asarray(load_wine().data, np.float32)


def sounds(rows: int = 24) -> Array:
    phase = np.random.default_rng(1).uniform(200, 900, (rows, 1)) * np.arange(4000) / 16000
    return (0.6 * np.sin(2 * np.pi * phase)).astype(np.float32)


def token_ids(rows: int = 60, length: int = 40) -> Array:
    ids = np.random.default_rng(2).integers(5, 1000, (rows, length))
    ids[:, 0] = 2
    for row in range(rows):
        ids[row, length - row % 20 :] = 0
    return ids


def texts(rows: int = 60) -> Array:
    words = [
        "The",
        "quick",
        "brown",
        "fox",
        "jumps",
        "over",
        "a",
        "lazy",
        "dog",
        "exports",
        "nine",
        "xylophones",
    ]
    choice = np.random.default_rng(3).integers(len(words), size=(rows, 25))
    return np.array([" ".join(words[i] for i in row) for row in choice], dtype=object)


ROWS = table()
CASES: dict[str, tuple[Array, Modality]] = {
    "flat digits": (digits()[:120], Modality("image", 0, 16, 8, 8)),
    "square digits": (
        digits()[:120].reshape(-1, 1, 8, 8) / 16,
        Modality("image", 0, 1, 8, 8, channel_axis=1),
    ),
    "photographs": (
        np.tile(np.linspace(20, 230, 80).astype(np.uint8)[None, :, None, None], (6, 1, 70, 3))
        + np.random.default_rng(0).integers(0, 20, (6, 80, 70, 3), np.uint8),
        Modality("image", 0, 255, 80, 70, channels=3, channel_axis=-1),
    ),
    "table": (ROWS, Modality("tabular", reference=fit_reference([ROWS[:50], ROWS[50:]]))),
    "sound": (sounds(), Modality("audio", -1, 1)),
    "sound in 16 bits": (
        (sounds()[:, None] * 32767).astype(np.int16),
        Modality("audio", -32768, 32767, channel_axis=1),
    ),
    "token ids": (token_ids(), Modality("tokens", vocabulary=1000, unknown=1, special=(2, 3))),
    "text": (texts(), Modality("text")),
}
PAIRS = [(case, name) for case, (_, modality) in CASES.items() for name in catalogue.NAMES[modality.kind]]


def run(case: str, name: str, severity: int, rows: Any = slice(None), seed: int = 0) -> Array:
    batch, modality = CASES[case]
    items = np.arange(len(batch))[rows]
    return corrupt(name, severity, batch[rows], items, modality=modality, seed=seed)


@pytest.mark.parametrize(("case", "name"), PAIRS)
def test_an_item_is_corrupted_the_same_in_whatever_batch(case: str, name: str) -> None:
    whole = run(case, name, 3)
    order = np.random.default_rng(0).permutation(len(whole))
    assert np.array_equal(run(case, name, 3, order), whole[order])
    assert np.array_equal(run(case, name, 3, slice(2, 3)), whole[2:3])
    assert np.array_equal(run(case, name, 3), whole)


@pytest.mark.parametrize(("case", "name"), PAIRS)
def test_shape_dtype_and_range_are_kept_and_the_original_is_not_touched(case: str, name: str) -> None:
    batch, modality = CASES[case]
    before = batch.copy()
    for severity in catalogue.SEVERITIES:
        done = run(case, name, severity)
        assert done.shape == batch.shape
        assert done.dtype == batch.dtype
        if modality.kind in ("image", "audio"):
            assert done.min() >= modality.low
            assert done.max() <= modality.high
        if modality.kind == "tokens":
            assert done.min() >= 0
            assert done.max() < 1000
        if modality.kind == "tabular":
            assert np.isfinite(done).all()
    assert np.array_equal(batch, before)


@pytest.mark.parametrize(("case", "name"), PAIRS)
def test_damage_grows_with_severity(case: str, name: str) -> None:
    batch, modality = CASES[case]
    damage = [_damage(name, batch, run(case, name, severity), modality) for severity in catalogue.SEVERITIES]
    assert damage[0] > 0
    assert damage[-1] > damage[0]
    assert all(later >= earlier * 0.97 for earlier, later in pairwise(damage)), damage


def _damage(name: str, before: Array, after: Array, modality: Modality) -> float:
    if modality.kind == "text":
        from difflib import SequenceMatcher

        pairs = zip(before, after, strict=True)
        return float(
            np.mean([1 - SequenceMatcher(None, one, other, autojunk=False).ratio() for one, other in pairs])
        )
    if modality.kind == "tokens":
        return float((before != after).mean())
    if modality.kind == "tabular":
        assert modality.reference is not None
        return float(np.minimum(np.abs(after - before) / modality.reference.deviation, 20).mean())
    if name == "speed":  # sample by sample all speeds are equally far off: compare pitches
        pitch = [np.abs(np.fft.rfft(sound)).argmax(axis=-1) for sound in (before, after)]
        return float(np.abs(pitch[1] - pitch[0]).mean())
    return float(np.abs(after.astype(float) - before.astype(float)).mean())


@pytest.mark.parametrize(
    ("case", "name"), [("flat digits", "gaussian_noise"), ("text", "typos"), ("token ids", "token_drop")]
)
def test_another_seed_severity_or_item_draws_other_numbers(case: str, name: str) -> None:
    assert not np.array_equal(run(case, name, 3), run(case, name, 3, seed=1))
    batch, modality = CASES[case]
    twins = np.repeat(batch[:1], 2, axis=0)
    one, other = corrupt(name, 5, twins, [0, 1], modality=modality)
    assert not np.array_equal(one, other)


def test_a_token_is_corrupted_the_same_however_far_its_batch_is_padded() -> None:
    ids, modality = CASES["token ids"]
    padded = np.pad(ids, ((0, 0), (0, 17)))
    for name in catalogue.NAMES["tokens"]:
        short = corrupt(name, 4, ids, range(60), modality=modality)
        assert np.array_equal(corrupt(name, 4, padded, range(60), modality=modality)[:, :40], short)


def test_special_tokens_stay_and_the_mask_follows_the_ids() -> None:
    ids, modality = CASES["token ids"]
    inputs = {"input_ids": ids, "attention_mask": (ids != 0).astype(np.int64), "other": np.ones(60)}
    for name in catalogue.NAMES["tokens"]:
        done = corrupt_inputs(
            name, 5, inputs, range(60), input="input_ids", modality=modality, mask="attention_mask"
        )
        assert (done["input_ids"][:, 0] == 2).all()
        assert np.array_equal(done["attention_mask"] == 0, done["input_ids"] == 0)
        assert done["attention_mask"].dtype == np.int64
        assert done["other"] is inputs["other"]


def test_left_padding_stays_left() -> None:
    ids = np.array([[0, 0, 7, 8, 9, 10, 11, 12]])
    done = corrupt("truncation", 4, ids, [0], modality=Modality("tokens"))
    assert done.tolist() == [[0, 0, 0, 0, 0, 7, 8, 9]]


def test_single_words_and_empty_texts_survive() -> None:
    batch = np.array(["", "word", "  ", "größe 😀"], dtype=object)
    for name in catalogue.NAMES["text"]:
        for severity in catalogue.SEVERITIES:
            done = corrupt(name, severity, batch, range(4), modality=Modality("text"))
            assert done[0] == ""
    assert corrupt("word_drop", 5, batch, range(4), modality=Modality("text"))[1] == "word"


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(1, 12), width=st.integers(1, 12), channels=st.sampled_from([1, 3, 4]),
    dtype=st.sampled_from(["uint8", "float16", "float64"]), name=st.sampled_from(catalogue.NAMES["image"]),
)  # fmt: skip
def test_every_size_of_image_can_be_corrupted(
    height: int, width: int, channels: int, dtype: str, name: str
) -> None:
    batch = np.random.default_rng(0).integers(0, 256, (2, channels, height, width)).astype(dtype)
    modality = Modality("image", 0, 255, height, width, channels=channels, channel_axis=1)
    for severity in (1, 5):
        done = corrupt(name, severity, batch, [0, 1], modality=modality)
        assert done.shape == batch.shape
        assert done.dtype == batch.dtype
        assert np.isfinite(done.astype(float)).all()


def test_an_empty_batch_stays_empty() -> None:
    for case, name in PAIRS:
        assert len(run(case, name, 1, slice(0, 0))) == 0


def test_all_digits_ten_corruptions_five_severities_are_quick() -> None:
    batch = digits()
    modality = Modality("image", 0, 16, 8, 8)
    start = time.process_time()
    for name in catalogue.NAMES["image"]:
        for severity in catalogue.SEVERITIES:
            corrupt(name, severity, batch, np.arange(len(batch)), modality=modality)
    assert time.process_time() - start < 15


def test_what_cannot_be_applied_is_refused_by_name() -> None:
    batch, modality = CASES["flat digits"]
    with pytest.raises(UsageError, match="Did you mean `gaussian_noise`"):
        corrupt("gausian_noise", 1, batch, range(len(batch)), modality=modality)
    with pytest.raises(UsageError, match="is for text, the input is image"):
        corrupt("typos", 1, batch, range(len(batch)), modality=modality)
    with pytest.raises(UsageError, match="not 6"):
        corrupt("contrast", 6, batch, range(len(batch)), modality=modality)
    with pytest.raises(InvalidInput, match="positions of 1"):
        corrupt("contrast", 1, batch, [0], modality=modality)
    with pytest.raises(InvalidInput, match="64 values is not 9 x 8"):
        corrupt("contrast", 1, batch, range(len(batch)), modality=Modality("image", 0, 16, 9, 8))
    with pytest.raises(InvalidInput, match="fit_reference"):
        corrupt("outliers", 1, ROWS, range(len(ROWS)), modality=Modality("tabular"))


def test_the_reference_is_the_same_however_the_data_is_cut() -> None:
    reference = fit_reference([ROWS[:1], ROWS[1:100], ROWS[100:100], ROWS[100:]])
    assert np.allclose(reference.mean, ROWS.astype(float).mean(axis=0))
    assert np.allclose(reference.deviation, ROWS.astype(float).std(axis=0))
    with pytest.raises(InvalidInput, match="no rows"):
        fit_reference([])


@pytest.mark.parametrize(
    ("name", "shape", "example", "expected"),
    [
        ("x", (None, 64), digits(), {"kind": "image", "low": 0, "high": 16, "height": 8, "width": 8}),
        ("x", (None, 64), digits() / 16, {"kind": "image", "high": 1, "width": 8}),
        ("x", (None, 1, 8, 8), digits().reshape(-1, 1, 8, 8), {"channel_axis": 1, "height": 8}),
        ("x", (None, "h", "w", 3), np.zeros((2, 40, 50, 3), np.uint8), {"high": 255, "width": 50}),
        ("x", (None, 3, 32, 32), np.linspace(-2, 2, 6144).reshape(2, 3, 32, 32), {"low": -2, "high": 2}),
        ("x", (None, 13), ROWS, {"kind": "tabular"}),
        ("input_ids", ("b", "s"), token_ids(), {"kind": "tokens", "vocabulary": 1000}),
        ("audio", ("b", "samples"), sounds(), {"kind": "audio", "low": -1, "high": 1}),
        ("x", ("b", None), sounds(), {"kind": "audio"}),
        ("x", ("b", 1, None), sounds()[:, None], {"kind": "audio", "channel_axis": 1}),
        ("text", ("b",), texts(), {"kind": "text"}),
    ],
)  # fmt: skip
def test_the_kind_of_an_input_is_guessed(
    name: str, shape: Any, example: Array, expected: dict[str, Any]
) -> None:
    found = modality_of(TensorSpec(name, str(example.dtype), shape), example)
    assert {key: getattr(found, key) for key in expected} == expected
    needing = () if found.kind != "tabular" else catalogue.NAMES["tabular"]  # the spread of the features
    for corruption in {*catalogue.NAMES[found.kind]} - {"unknown_tokens", *needing}:
        assert corrupt(corruption, 1, example[:2], [0, 1], modality=found).shape == example[:2].shape


def test_what_is_declared_is_believed() -> None:
    spec = TensorSpec("x", "float32", (None, 64))
    assert modality_of(spec, digits(), kind="tabular").kind == "tabular"
    found = modality_of(spec, digits(), kind="image", low=-1, high=20, height=4, width=16)
    assert (found.low, found.high, found.height, found.width) == (-1, 20, 4, 16)
    with pytest.raises(InvalidInput, match="cannot be an image"):
        modality_of(TensorSpec("x", "float32", (None, 13)), ROWS, kind="image")


def test_the_catalogue_is_read_without_numpy() -> None:
    script = "import sys, gradatim.perturb.catalogue; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    assert len(set(catalogue.ALL)) == sum(len(names) for names in catalogue.NAMES.values())


# abnormal inputs ---------------------------------------------------------------------------------


def test_abnormal_inputs_of_a_text_encoder_keep_its_sequences_together() -> None:
    axes = ("batch", "sequence")
    signature = Signature(tuple(TensorSpec(n, "int64", axes) for n in ("input_ids", "attention_mask")), ())
    example = {"input_ids": token_ids(3, 7), "attention_mask": np.ones((3, 7), np.int64)}
    cases = {case.name: case for case in abnormal_inputs(signature, example)}
    long = cases["very long sequence"].inputs
    assert long["input_ids"].shape == long["attention_mask"].shape == (1, 8192)
    assert cases["sequence of length 0"].inputs["input_ids"].shape == (1, 0)
    assert cases["batch of 0"].inputs["attention_mask"].shape == (0, 7)
    assert cases["batch of 4096"].inputs["input_ids"].shape == (4096, 7)
    assert cases["without attention_mask"].expectation == "clear error"
    assert "all NaN" not in cases


def test_abnormal_inputs_of_an_image_model() -> None:
    signature = Signature((TensorSpec("x", "float32", (None, 1, 8, 8)),), ())
    example = {"x": digits()[:5].reshape(5, 1, 8, 8)}
    cases = {case.name: case for case in abnormal_inputs(signature, example)}
    assert np.isnan(cases["all NaN"].inputs["x"]).all()
    assert np.isposinf(cases["positive infinity"].inputs["x"]).all()
    assert cases["wrong dtype of x"].inputs["x"].dtype == np.float64
    assert cases["wrong size of x"].inputs["x"].shape == (5, 2, 8, 8)
    assert cases["one axis too many in x"].inputs["x"].shape == (5, 1, 8, 8, 1)
    scattered = cases["not contiguous in memory"]
    assert not scattered.inputs["x"].flags.c_contiguous
    assert np.array_equal(scattered.inputs["x"], example["x"])
    assert scattered.expectation == "finite output"
    assert "very long sequence" not in cases


def test_abnormal_texts_are_not_cut_short() -> None:
    signature = Signature((TensorSpec("text", "str", (None,)),), ())
    cases = {case.name: case for case in abnormal_inputs(signature, {"text": np.array(["ab", "c"])})}
    assert len(cases["very long text"].inputs["text"][1]) > 8192
    assert cases["empty text"].inputs["text"].tolist() == ["", ""]


def test_every_abnormal_input_of_a_real_model_ends_as_expected() -> None:
    ort = pytest.importorskip("onnxruntime")
    helper = pytest.importorskip("onnx").helper
    weights = helper.make_tensor("w", 1, [64, 3], np.linspace(-1, 1, 192).tolist())
    x, y = (helper.make_tensor_value_info(name, 1, ["b", size]) for name, size in (("x", 64), ("y", 3)))
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    signature = Signature((TensorSpec("x", "float32", ("b", 64)),), ())
    for case in abnormal_inputs(signature, {"x": digits()[:5]}):
        try:
            output = session.run(None, case.inputs)[0]
        except Exception:
            assert case.expectation != "finite output", case.name
        else:
            assert case.expectation != "clear error", case.name
            if case.expectation == "finite output":
                assert np.isfinite(output).all(), case.name
