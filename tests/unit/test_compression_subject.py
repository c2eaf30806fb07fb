"""What a search begins with: whether anything can be made of a model, how an attempt tells that it failed, and how nodes are called."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from importlib import util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradatim.compression import attempt, language, nncf_quantising, search
from gradatim.compression.batches import calls_of, write_batches
from gradatim.compression.nncf_quantising import _OF_TRANSFORMERS, quantise_by_nncf
from gradatim.compression.parity import check_parity
from gradatim.compression.recipe import DEFAULT_METHODS, EXPORT, GGUF, STORED, Recipe
from gradatim.compression.subject import file_of, format_of, tried
from gradatim.errors import EnvironmentLacks, InvalidInput
from gradatim.evidence.trial import Trial
from gradatim.models.speech import ASKED
from gradatim.signature import Signature, TensorSpec
from gradatim.timing.contestant import save_inputs

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
helper = onnx.helper
OTHER = Signature((TensorSpec("x", "float32", ("n", 3)),), ())


def opened(signature: Signature | None = None, **more: Any) -> dict[str, Any]:
    plain = {"endpoint": {}, "command": [], "factory": None, "adapter": None}
    return {**plain, "signature": asdict(signature) if signature else None, **more}


RECIPES = [Recipe(method) for method in DEFAULT_METHODS]
OWN = Recipe("own:smaller", code="digest")


def asked(kind: str, how: dict[str, Any] | None, recipes: list[Recipe], **more: bool) -> Any:
    found = tried(recipes, Path("m.x"), kind, how, **{"default": True, "cut": False, **more})
    return found if isinstance(found, str) else [one.method for one in found]


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "find_spec", lambda _: True)


@pytest.mark.usefixtures("everything")
def test_a_model_that_is_asked_for_text_is_stored_in_fewer_bits_and_by_what_the_user_wrote() -> None:
    speaks = opened(ASKED)
    stored = [method for method in DEFAULT_METHODS if method in STORED]
    assert stored
    for kind in ("huggingface", "onnx"):
        assert asked(kind, speaks, RECIPES) == stored
        assert asked(kind, speaks, [*RECIPES, OWN]) == [*stored, OWN.method]
        assert asked(kind, speaks, [Recipe("int8-static")], default=False) == ["int8-static"]
    assert asked("gguf", speaks, [*RECIPES, OWN]) == [*GGUF, OWN.method]
    assert asked("gguf", speaks, [Recipe("q8_0")], default=False) == ["q8_0"]


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"endpoint": {"url": "http://x"}}, "m.x is run by what the contract names beside it"),
        ({"command": ["run"]}, "m.x is run by what the contract names beside it"),
        ({"factory": "a:b"}, "m.x is run by what the contract names beside it"),
        ({"adapter": "lora"}, "m.x has an adapter"),
    ],
)
def test_a_model_that_others_load_is_released_as_it_is(more: dict[str, Any], words: str) -> None:
    said = asked("huggingface", opened(ASKED, **more), [*RECIPES, OWN])
    assert said.startswith(words)
    assert said.endswith("It is released as it is.")


@pytest.mark.usefixtures("everything")
def test_a_model_of_a_format_in_which_nothing_is_stored_anew_needs_what_the_user_wrote() -> None:
    for kind in ("python", "pt2", "safetensors"):
        assert f"m.x is of a format ({kind}) in which no installed method" in asked(
            kind, opened(ASKED), RECIPES
        )
        stored = [method for method in DEFAULT_METHODS if method in STORED]
        assert asked(kind, opened(ASKED), [*RECIPES, OWN]) == [*stored, OWN.method]


@pytest.mark.usefixtures("everything")
def test_a_model_that_can_be_onnx_is_written_so_first() -> None:
    assert asked("onnx", None, RECIPES) == list(DEFAULT_METHODS)
    assert asked("pt2", opened(OTHER), RECIPES) == [EXPORT, *DEFAULT_METHODS]
    assert asked("pt2", opened(OTHER), [Recipe("litert")]) == ["litert"]
    assert asked("pt2", opened(OTHER), [Recipe("litert"), Recipe("int8-weights")]) == [
        EXPORT, "litert", "int8-weights",
    ]  # fmt: skip
    assert asked("pt2", opened(OTHER), [Recipe("litert")], cut=True) == [EXPORT, "litert"]
    for kind, how in (("pt2", None), ("saved_model_of_others", opened(OTHER))):
        if how is None:
            assert f"m.x is of a format ({kind}) which no installed method compresses" in asked(
                kind, how, RECIPES
            )


@pytest.mark.parametrize(
    ("lacks", "kind", "signature"),
    [
        ("compressed_tensors", "huggingface", ASKED), ("gguf", "gguf", ASKED), ("onnx", "onnx", None), ("onnxruntime", "onnx", None),
    ],
)  # fmt: skip
def test_a_package_that_every_attempt_needs_is_missed_before_the_first(
    monkeypatch: pytest.MonkeyPatch, lacks: str, kind: str, signature: Signature | None
) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == lacks else True)
    with pytest.raises(EnvironmentLacks, match=lacks.replace("_", "[-_]")):
        asked(kind, opened(signature), RECIPES)
    monkeypatch.setattr(util, "find_spec", lambda name: True if name != lacks else None)
    for other in {"onnx", "gguf", "huggingface"} - {kind}:
        assert asked(other, opened(None if other == "onnx" else ASKED), RECIPES)


def test_forms_are_called_as_their_model_and_folders_stay_folders(tmp_path: Path) -> None:
    assert file_of(tmp_path, exported=False) == "."
    assert file_of(tmp_path, exported=True) == "model.onnx"
    assert file_of(tmp_path / "a.pt2", exported=False) == "a.pt2"
    assert file_of(tmp_path / "a.pt2", exported=True) == "a.onnx"
    (tmp_path / "weights.dat").write_bytes(b"\x01\x02 of nobody")
    assert format_of(tmp_path / "weights.dat") == "that only its function or program knows"


FAULTS: dict[str, tuple[BaseException, dict[str, Any]]] = {
    "a file": (InvalidInput("cut off"), {"reason": "cut off", "exit_code": 3}),
    "a package": (EnvironmentLacks("no onnx"), {"reason": "no onnx", "exit_code": 4}),
    "memory": (MemoryError(), {"reason": "it needs more memory than it may use", "transient": True}),
    "a quantiser": (AssertionError("no\nmore"), {"reason": "AssertionError: no"}),
    "a long one": (RuntimeError("y" * 999), {"reason": f"RuntimeError: {'y' * 300}"}),
    "a silent one": (RuntimeError("\n "), {"reason": "RuntimeError: no message"}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_an_attempt_that_fails_is_a_reason_and_only_lack_of_memory_may_pass(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    error, expected = FAULTS[name]
    limits: list[int] = []

    def fails(**given: Any) -> Any:
        assert given == {"seed": 3}
        raise error

    monkeypatch.setattr(attempt, "_rank", fails)
    monkeypatch.setattr(attempt, "die_with", lambda parent: limits.append(parent))
    monkeypatch.setattr(attempt, "_limit_memory", limits.append)
    monkeypatch.setattr(attempt, "quiet_logs", lambda: None)  # for good: it is a process of its own
    (tmp_path / "asked.json").write_text(
        json.dumps({"do": "rank", "parent": 7, "memory_limit": 8, "seed": 3})
    )
    attempt.main(tmp_path / "asked.json", tmp_path / "answer.json")
    assert json.loads((tmp_path / "answer.json").read_text()) == expected
    assert limits == [7, 8]


def test_a_model_that_is_asked_for_text_learns_by_no_function_of_the_users(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "opened": {}, "source": "m", "root": "", "learned": [], "heard": "", "seconds": 1.0, "out": "", "batches": [], "timing": "",
        "seed": 0,
    }  # fmt: skip
    for more in ({"student": "a:b"}, {"train": "a:b"}):
        recipe = {"method": "pruned", "share": 0.5, **more}
        with pytest.raises(
            InvalidInput, match="`student` and `train` are for models that are not asked for text"
        ):
            attempt._speak(recipe=recipe, **given)


def test_requests_are_written_once_and_read_from_then_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[Any] = []

    def completed(model: Any, lines: list[str]) -> list[str]:
        seen.append((model, lines))
        return [f"{line}!" for line in lines]

    monkeypatch.setattr(language, "with_references", completed)
    monkeypatch.setattr(language, "load_inputs", lambda path: path.name)
    monkeypatch.setattr(language, "requests_in", lambda name: [f"{name} one", f"{name} two"])
    heard = tmp_path / "heard.json"
    lines = ["a one!", "a two!", "b one!", "b two!"]
    assert language.asked("model", heard, ["x/a", "x/b"]) == lines  # type: ignore[arg-type]
    assert language.asked("another", heard, ["x/c"]) == lines  # type: ignore[arg-type]
    assert seen == [("model", [line[:-1] for line in lines])]


def graph_of(*names: str) -> Any:
    nodes = [helper.make_node("Relu", [f"t{n}"], [f"t{n + 1}"], name=name) for n, name in enumerate(names)]
    value = helper.make_tensor_value_info
    made = helper.make_graph(nodes, "g", [value("t0", 1, [1])], [value(f"t{len(names)}", 1, [1])])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("a", "b"), ["a", "b"]), (("", ""), ["Relu_0", "Relu_1"]), (("a", "a", "a"), ["a", "Relu_1", "Relu_2"]),
        (("Relu_1", ""), ["Relu_1", "Relu_1_"]), (("Relu_2", "Relu_2_", ""), ["Relu_2", "Relu_2_", "Relu_2__"]),
    ],
)  # fmt: skip
def test_every_node_has_a_name_of_its_own_and_keeps_the_one_that_it_has(
    given: tuple[str, ...], named: list[str]
) -> None:
    from gradatim.compression.graph import name_nodes

    model = graph_of(*given)
    name_nodes(model)
    assert [node.name for node in model.graph.node] == named


def joined(*inputs: str, constant: bool = False) -> set[str]:
    """What follows two convolutions into integers, where an Add takes these."""
    from gradatim.compression.forms.static import _followers

    value, weight = helper.make_tensor_value_info, np.ones((2, 2, 1, 1), np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first"), helper.make_node("Conv", ["x", "w"], ["b"], name="second"),
        helper.make_node("Add", list(inputs), ["c"], name="add"), helper.make_node("Relu", ["c"], ["d"], name="cut"),
    ]  # fmt: skip
    held = [onnx.numpy_helper.from_array(weight, "w")]
    if constant:
        held.append(onnx.numpy_helper.from_array(np.ones(1, np.float32), "k"))
    made = helper.make_graph(
        nodes, "g", [value("x", 1, [1, 2, 3, 3]), value("y", 1, [1, 2, 3, 3])], [value("d", 1, [1, 2, 3, 3])], held
    )  # fmt: skip
    return _followers(helper.make_model(made), {"first", "second"})


def test_what_joins_only_convolutions_stays_in_integers_with_what_cuts_it() -> None:
    assert joined("a", "b") == {"add", "cut"}
    assert joined("a", "a") == {"add", "cut"}
    assert joined("a", "y") == set()
    assert joined("a", "k", constant=True) == set()


class Quantiser:
    """NNCF, as far as it is called: it leaves a graph as it is, or gives another that was prepared."""

    def __init__(self, made: Any) -> None:
        self.made, self.calls = made, list[tuple[str, dict[str, Any]]]()
        self.ModelType, self.DropType = (
            SimpleNamespace(TRANSFORMER="transformer"),
            SimpleNamespace(ABSOLUTE="absolute"),
        )

    class Dataset:
        def __init__(self, items: list[Any]) -> None:
            self.items = items

        def get_inference_data(self) -> list[Any]:
            return self.items

    def quantize(self, model: Any, data: Any, **how: Any) -> Any:
        self.calls.append(("quantize", {"rows": len(data.items), **how}))
        return self.made

    def quantize_with_accuracy_control(
        self, model: Any, data: Any, checked: Any, alike: Any, **how: Any
    ) -> Any:
        self.calls.append(("control", {"of itself": alike(model, checked.items), **how}))
        return model


def scaled(by: float, operator: str = "Mul") -> Any:
    value = helper.make_tensor_value_info
    held = [onnx.numpy_helper.from_array(np.array([by, 0, 1], np.float32), "k")]
    nodes = [
        helper.make_node("Mul", ["x", "k"], ["m"]),
        helper.make_node(operator, ["m"] if operator != "Mul" else ["m", "m"], ["y"]),
    ]
    made = helper.make_graph(nodes, "g", [value("x", 1, [2, 3])], [value("y", 1, [2, 3])], held)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(("by", "least", "controlled"), [(1.0, 1.0, False), (1.0, 0.9, False), (-1.0, 0.0, False), (-1.0, 0.9, True)])  # fmt: skip
def test_nncf_gives_back_accuracy_only_where_the_likeness_that_must_be_kept_is_lost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by: float, least: float, controlled: bool
) -> None:
    rows = [save_inputs(tmp_path / f"{n}.npz", {"x": np.eye(2, 3, dtype=np.float32) + n}) for n in range(3)]
    model, fake = scaled(1.0, "Softmax"), Quantiser(scaled(by, "Softmax"))
    monkeypatch.setitem(sys.modules, "nncf", fake)
    found = quantise_by_nncf(model, rows, "cosine", least)
    assert found is (model if controlled else fake.made)
    assert fake.calls[0] == (
        "quantize",
        {"rows": 3, "subset_size": 3, "model_type": fake.calls[0][1]["model_type"]},
    )
    assert len(fake.calls) == 1 + controlled
    if controlled:
        how = fake.calls[1][1]
        assert how["of itself"][0] == pytest.approx(1.0)
        assert (how["max_drop"], how["drop_type"], how["subset_size"]) == (
            pytest.approx(1 - least),
            "absolute",
            3,
        )


@pytest.mark.parametrize("operator", ["Relu", *sorted(_OF_TRANSFORMERS)])
def test_nncf_is_told_of_a_transformer_where_the_graph_has_what_transformers_have(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, operator: str
) -> None:
    rows = [save_inputs(tmp_path / "rows.npz", {"x": np.eye(2, 3, dtype=np.float32)})]
    model = scaled(1.0, "Relu")
    model.graph.node[1].op_type = operator
    fake = Quantiser(scaled(1.0, "Relu"))
    monkeypatch.setitem(sys.modules, "nncf", fake)
    monkeypatch.setattr(nncf_quantising, "_likeness", lambda *_: {"cosine": 1.0})
    quantise_by_nncf(model, rows, "cosine", 0.9)
    assert fake.calls[0][1]["model_type"] == (None if operator == "Relu" else "transformer")


def test_a_form_is_as_fast_as_what_it_is_made_from_says_and_else_as_the_original() -> None:
    found = search._Search.__new__(search._Search)
    trial = subject_trial("pruned", None), subject_trial("pruned", 0.4), subject_trial("other", 0.9)
    found.trials = list(trial)
    pace = found._pace_of
    assert pace(Recipe("int8-weights", base="pruned")) == 0.4
    assert pace(Recipe("int8-weights", base="other")) == 0.9
    assert pace(Recipe("int8-weights", base="nothing")) == 1.0
    assert pace(Recipe("int8-weights")) == 1.0


def subject_trial(name: str, ratio: float | None) -> Trial:
    return Trial(name, {}, True, "", {}, 1, 1.0, ratio)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_a_form_that_answers_otherwise_is_refused_however_small_the_answers_are(scale: float) -> None:
    rows = [{"x": np.linspace(-1, 1, 12).reshape(4, 3)}]

    def times(by: float) -> Any:
        return lambda given: {"y": given["x"] * scale * by}

    assert check_parity(times(1.0), times(1.0), rows) == 0
    assert check_parity(times(1.0), times(1 + 1e-6), rows) == pytest.approx(1e-6, rel=1e-3)
    with pytest.raises(InvalidInput, match=r"its outputs differ by up to 0\.5 of their largest number"):
        check_parity(times(1.0), times(1.5), rows)


def digest_of_batches(folder: Path, *arrays: Any) -> str:
    return write_batches(({"x": one, "y": np.arange(3)} for one in arrays), folder)[1]


def test_calibration_is_known_by_what_it_holds_and_how_it_is_cut(tmp_path: Path) -> None:
    texts = ["a", "bc"]
    plain = digest_of_batches(tmp_path, np.array(texts))
    assert (
        plain
        == digest_of_batches(tmp_path, np.array(texts))
        == digest_of_batches(tmp_path, np.array(texts, object))
    )
    others = [
        np.array(["a", "bd"], object), np.array(["a", "bc", ""], object), np.array([["a", "bc"]], object), np.array(["a", "b"], object),
    ]  # fmt: skip
    numbers = [
        np.ones(4, np.float32),
        np.ones(4),
        np.ones((2, 2)),
        np.asfortranarray(np.arange(4.0).reshape(2, 2)),
        np.arange(4.0),
    ]
    found = [plain, *(digest_of_batches(tmp_path, one) for one in (*others, *numbers))]
    assert len({*found}) == len(found)
    turned = np.asfortranarray(np.arange(4.0).reshape(2, 2))
    assert digest_of_batches(tmp_path, turned) == digest_of_batches(tmp_path, np.ascontiguousarray(turned))
    assert digest_of_batches(tmp_path, *numbers[:2]) != digest_of_batches(tmp_path, numbers[0])
    paths, _ = write_batches(iter([{"x": np.ones(1)}, {"x": np.ones(2)}]), tmp_path, "learn")
    assert [path.name for path in paths] == ["learn-00000.npz", "learn-00001.npz"]
    for name, words in (("batch", "needs at least one batch"), ("learn", "fewer than five rows")):
        with pytest.raises(InvalidInput, match=words):
            write_batches(iter(()), tmp_path, name)


def test_a_batch_is_timed_whole_and_by_its_first_row_where_it_has_more() -> None:
    several = {"x": np.arange(6).reshape(3, 2), "scale": np.array(2.0)}
    whole, first = calls_of(several)
    assert whole is several
    assert first["x"].tolist() == [[0, 1]]
    assert first["scale"] == 2.0
    single = {"x": np.arange(2).reshape(1, 2), "scale": np.array(2.0)}
    assert calls_of(single) == [single]


def test_a_call_of_one_row_cuts_a_state_along_its_own_axis_and_leaves_what_has_no_rows() -> None:
    """A recurrent model's state has its rows behind its layers, as silero-vad's; it was never timed for one row."""
    sound, state = np.arange(12.0).reshape(4, 3), np.arange(24.0).reshape(2, 4, 3)
    batch = {"sound": sound, "state": state, "rate": np.array(16000), "window": np.ones(7)}
    whole, first = calls_of(batch)
    assert whole == batch
    assert {name: array.shape for name, array in first.items()} == {
        "sound": (1, 3), "state": (2, 1, 3), "rate": (), "window": (7,),
    }  # fmt: skip
    assert (first["state"] == state[:, :1]).all()
    assert calls_of({"x": np.ones((0, 3))}) == [{"x": pytest.approx(np.ones((0, 3)))}]
    assert calls_of({"scale": np.array(2.0)}) == [{"scale": np.array(2.0)}]
