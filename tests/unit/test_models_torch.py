"""PyTorch in its four forms, and the user's own functions."""

from __future__ import annotations

import importlib.util
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradatim.data import open_data
from gradatim.errors import EnvironmentLacks, InvalidInput
from gradatim.models import batched, bind, detect_format, inspect_model, observed_signature, open_model
from gradatim.signature import Signature, TensorSpec

torch = pytest.importorskip("torch")

NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)
        self.dropout = torch.nn.Dropout(0.9)

    def forward(self, x, ids):
        return self.dropout(self.linear(x)), {"total": ids.sum(1), "none": None}

def make():
    torch.manual_seed(0)
    return Net()

def not_a_module():
    return 3
"""


class Pair(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)

    def forward(self, x, ids):  # type: ignore[no-untyped-def]
        x += 1  # in place: the caller's batch must not change
        return self.linear(x), ids.sum(1)


class Rate(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    def forward(self, x, rate: int, gain: float = 2.0):  # type: ignore[no-untyped-def]
        return x * rate * gain


X = np.arange(8, dtype=np.float32).reshape(2, 4)
IDS = np.ones((2, 5), np.int32)
BATCH = {"x": X, "ids": IDS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("modelle é")
    torch.manual_seed(0)
    pair = Pair().eval()
    torch.jit.save(torch.jit.script(pair), folder / "m.pt")
    torch.jit.save(torch.jit.script(Rate()), folder / "rate.ts")
    example = (torch.tensor(X), torch.tensor(IDS))
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        pair, example, dynamic_shapes=({0: batch}, {0: batch, 1: torch.export.Dim("length")})
    )
    torch.export.save(program, folder / "m.pt2")
    torch.save(pair.state_dict(), folder / "state.pth")
    (folder / "net.py").write_text(NET)
    return folder


def expected() -> dict[str, Any]:
    torch.manual_seed(0)
    with torch.no_grad():
        return {
            "output_0": Pair()(torch.tensor(X), torch.tensor(IDS))[0].numpy(),
            "output_1": IDS.sum(1),
        }


@pytest.mark.parametrize(("name", "kind"), [("m.pt", "torchscript"), ("m.pt2", "pt2")])
def test_saved_programs_answer_as_the_module_does(folder: Path, name: str, kind: str) -> None:
    assert detect_format(folder / name) == kind
    with open_model(folder / name, root=folder) as predictor:
        before = X.copy()
        outputs = predictor(BATCH)
        np.testing.assert_array_equal(X, before)
        for key, value in expected().items():
            np.testing.assert_allclose(outputs[key], value, rtol=1e-6)
        assert torch.get_num_threads() == 1
        with pytest.raises(InvalidInput, match="`ids` is missing"):
            predictor({"x": X})


def test_an_exported_program_says_dtypes_sizes_and_free_axes(folder: Path) -> None:
    with open_model(folder / "m.pt2", root=folder) as predictor:
        assert predictor.signature == Signature(
            (TensorSpec("x", "float32", ("batch", 4)), TensorSpec("ids", "int32", ("batch", "dim_1"))),
            (TensorSpec("output_0", "float32", ("batch", 3)), TensorSpec("output_1", "int64", ("batch",))),
        )
        assert (
            predictor({"x": np.ones((5, 4), np.float32), "ids": np.ones((5, 9), np.int32)})[
                "output_1"
            ].tolist()
            == [9] * 5
        )
        with pytest.raises(InvalidInput, match=r"expected int32\[batch, dim_1\], got int64\[2, 5\]"):
            predictor({"x": X, "ids": IDS.astype(np.int64)})


def test_the_contract_names_the_outputs_and_gives_what_torchscript_lacks(folder: Path) -> None:
    declared = Signature(
        (TensorSpec("x", "float32", ("batch", 4)), TensorSpec("ids", "int32", ("batch", None))),
        (TensorSpec("logits", "float32", ("batch", 3)), TensorSpec("length", "int64", ("batch",))),
    )
    for name in ("m.pt", "m.pt2"):
        with open_model(folder / name, root=folder, signature=declared) as predictor:
            assert list(predictor(BATCH)) == ["logits", "length"]
            with pytest.raises(InvalidInput, match="`x`"):
                predictor({"x": X.astype(np.float64), "ids": IDS})
    with open_model(folder / "m.pt", root=folder) as predictor:
        assert predictor.signature.inputs[0] == TensorSpec("x", "unknown", None)
        seen = observed_signature(predictor, BATCH)
        assert seen.inputs[0] == TensorSpec("x", "float32", ("batch", 4))
        assert seen.outputs[1] == TensorSpec("output_1", "int64", ("batch",))
        with pytest.raises(InvalidInput, match="failed on its inputs"):
            predictor({"x": np.ones((2, 7), np.float32), "ids": IDS})


def test_plain_numbers_of_torchscript_are_zero_rank_inputs(folder: Path) -> None:
    with open_model(folder / "rate.ts", root=folder) as predictor:
        assert predictor.signature.inputs[1] == TensorSpec("rate", "int64", ())
        assert predictor({"x": X, "rate": np.array(3)})["output_0"].tolist() == (X * 6).tolist()
    declared = Signature((TensorSpec("gain", "float64", ()),), ())
    with open_model(folder / "rate.ts", root=folder, signature=declared) as predictor:
        given = {"x": X, "rate": np.array(3), "gain": np.array(1.0)}
        assert predictor(given)["output_0"].tolist() == (X * 3).tolist()


def test_silero_vads_torchscript_runs() -> None:
    spec = importlib.util.find_spec("silero_vad")
    if spec is None or spec.origin is None:
        pytest.skip("silero-vad is not installed")
    path = Path(spec.origin).parent / "data" / "silero_vad.jit"
    with open_model(path, root=path.parent) as predictor:
        outputs = predictor({"x": np.zeros((1, 512), np.float32), "sr": np.array(16000)})
        assert outputs["output_0"].shape == (1, 1)


def test_safetensors_are_loaded_into_the_factorys_module_in_evaluation_mode(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    (tmp_path / "net.py").write_text(NET)
    torch.manual_seed(3)
    weights = {"linear.weight": torch.randn(3, 4), "linear.bias": torch.randn(3)}
    path = tmp_path / "m.safetensors"
    safetensors.save_file(weights, path)
    with open_model(path, root=tmp_path, factory="net:make") as predictor:
        outputs = predictor(BATCH)
        assert list(outputs) == ["output_0", "output_1_total"]
        wanted = X @ weights["linear.weight"].numpy().T + weights["linear.bias"].numpy()
        np.testing.assert_allclose(outputs["output_0"], wanted, rtol=1e-5, atol=1e-5)
    found = inspect_model(path, root=tmp_path, factory="net:make")
    assert (found.format, found.parameters, found.nonfinite) == ("safetensors", 15, ())
    assert found.signature is not None
    assert [spec.name for spec in found.signature.inputs] == ["x", "ids"]

    with pytest.raises(InvalidInput, match=r"model\.factory"):
        open_model(path, root=tmp_path)
    with pytest.raises(InvalidInput, match=r"must give a torch\.nn\.Module"):
        open_model(path, root=tmp_path, factory="net:not_a_module")
    safetensors.save_file({"linear.weight": torch.zeros(3, 4), "bias": torch.tensor([np.nan])}, path)
    with pytest.raises(InvalidInput, match="do not fit"):
        open_model(path, root=tmp_path, factory="net:make")
    assert inspect_model(path, root=tmp_path).nonfinite == ("bias",)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InvalidInput, match="truncated"):
        open_model(path, root=tmp_path, factory="net:make")


@pytest.mark.parametrize("name", ["m.pt", "m.pt2"])
def test_a_truncated_archive_is_invalid_not_a_crash(folder: Path, tmp_path: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    for length in (0, 3, 100, len(data) // 2, len(data) - 10):
        path = tmp_path / name
        path.write_bytes(data[:length])
        with pytest.raises(InvalidInput, match=r"truncated|empty"):
            open_model(path, root=tmp_path)


@pytest.mark.parametrize("name", ["m.pt", "m.pt2"])
def test_programs_are_inspected_for_parameters_nan_and_pickles(
    folder: Path, tmp_path: Path, name: str
) -> None:
    found = inspect_model(folder / name, root=folder)
    assert (found.parameters, found.nonfinite, found.pickles) == (15, (), ())
    assert found.signature is not None
    bad = Pair().eval()
    with torch.no_grad():
        bad.linear.bias[1] = float("nan")
    path = tmp_path / name
    if name == "m.pt":
        torch.jit.save(torch.jit.script(bad), path)
    else:
        torch.export.save(torch.export.export(bad, (torch.tensor(X), torch.tensor(IDS))), path)
    assert inspect_model(path, root=tmp_path).nonfinite == ("linear.bias",)


class Bomb:
    """Unpickling this makes a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("member", ["data/sample_inputs/model.pt", "data/weights/weight_0"])
def test_an_exported_program_with_a_bomb_in_it_is_refused_unexploded(
    folder: Path, tmp_path: Path, member: str
) -> None:
    torch.save(Bomb(tmp_path / "boom"), tmp_path / "bomb")
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(folder / "m.pt2") as good, zipfile.ZipFile(path, "w") as bad:
        for name in good.namelist():
            data = good.read(name)
            if name.endswith(member):
                data = (tmp_path / "bomb").read_bytes()
            if name.endswith("model_weights_config.json") and "weights" in member:
                data = data.replace(b'"use_pickle": false', b'"use_pickle": true')
            bad.writestr(name, data)
    with pytest.raises(InvalidInput, match=r"m\.pt2 brings a pickle"):
        open_model(path, root=tmp_path)
    assert inspect_model(path, root=tmp_path).pickles == ("m.pt2",)
    assert not (tmp_path / "boom").exists()


def test_pickled_weights_need_leave_and_are_even_then_loaded_safely(folder: Path, tmp_path: Path) -> None:
    path = folder / "state.pth"
    assert detect_format(path) == "pickle"
    with pytest.raises(InvalidInput, match=r"state\.pth brings a pickle .*allow_pickle"):
        open_model(path, root=folder, factory="net:make")
    with open_model(path, root=folder, factory="net:make", allow_pickle=True) as predictor:
        assert predictor(BATCH)["output_0"].shape == (2, 3)
    found = inspect_model(path, root=folder)
    assert (found.format, found.pickles, found.parameters) == ("pickle", ("state.pth",), None)
    allowed = inspect_model(path, root=folder, factory="net:make", allow_pickle=True)
    assert (allowed.pickles, allowed.parameters) == (("state.pth",), 15)

    (tmp_path / "net.py").write_text(NET)
    torch.save({"linear.weight": Bomb(tmp_path / "boom")}, tmp_path / "bomb.pth")
    with pytest.raises(InvalidInput, match="cannot be loaded by PyTorch"):
        open_model(tmp_path / "bomb.pth", root=tmp_path, factory="net:make", allow_pickle=True)
    assert not (tmp_path / "boom").exists()


def test_a_gpu_that_is_not_there_is_the_environments_lack(folder: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(EnvironmentLacks, match="no such GPU"):
        open_model(folder / "m.pt2", root=folder, device="cuda")


def test_a_function_of_the_users_own_is_a_model(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "from gradatim.signature import Signature, TensorSpec\n"
        "def make():\n"
        "    def predict(inputs):\n"
        "        return {'y': inputs['x'].sum(1)}\n"
        "    x, y = TensorSpec('x', 'float32', ('n', 4)), TensorSpec('y', 'float32', ('n',))\n"
        "    predict.signature = Signature((x,), (y,))\n"
        "    return predict\n"
        "def from_file(path):\n"
        "    scale = float(path.read_text())\n"
        "    return lambda inputs: {'y': inputs['x'] * scale}\n"
        "def broken():\n"
        "    return lambda inputs: inputs['x'] / {}\n"
    )
    with open_model(Path("own:make"), root=tmp_path) as predictor:
        assert predictor({"x": X})["y"].tolist() == [6, 22]
        with pytest.raises(InvalidInput, match="`x`"):
            predictor({"x": X.astype(np.float64)})
    found = inspect_model(Path("own:make"), root=tmp_path)
    assert (found.format, list(found.files)) == ("python", ["own.py"])

    (tmp_path / "scale.txt").write_text("3")
    with open_model(
        tmp_path / "scale.txt", root=tmp_path, format="python", factory="own:from_file"
    ) as predictor:
        assert predictor({"x": X})["y"].tolist() == (X * 3).tolist()
    with (
        open_model(Path("own:broken"), root=tmp_path) as predictor,
        pytest.raises(InvalidInput, match=r"own\.py:13"),
    ):
        predictor({"x": X})
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(3))
    with pytest.raises(InvalidInput, match="brings a pickle"):
        open_model(tmp_path / "m.pkl", root=tmp_path, format="python", factory="own:from_file")


OWN = """\
import numpy as np

WORDS = ("late", "broken")


def classify(inputs):
    return {"complaint": np.array([any(w in t for w in WORDS) for t in inputs["text"]], np.float32)}


def from_file(path):
    with np.load(path) as weights:
        w = weights["w"]
    return lambda inputs: {"y": inputs["x"] @ w}


def shifted():
    return lambda inputs: {"y": inputs["x"] + inputs["by"]}
"""


def test_a_function_of_arrays_is_a_model_without_a_factory_around_it(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "data.csv").write_text("text,label\nit is late,1\nvery good,0\n")
    with open_model(Path("own:classify"), root=tmp_path) as predictor:
        batch = open_data("data.csv", root=tmp_path, signature=predictor.signature).head(2)
        assert list(batch.inputs) == ["text"]
        assert predictor(batch.inputs)["complaint"].tolist() == [1, 0]


def test_any_file_is_a_model_with_a_factory_that_reads_it(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    np.savez(tmp_path / "weights.npz", w=np.ones((4, 1), np.float32))
    (tmp_path / "weights.xyz").write_bytes((tmp_path / "weights.npz").read_bytes())
    for name in ("weights.npz", "weights.xyz"):
        with open_model(tmp_path / name, root=tmp_path, factory="own:from_file") as predictor:
            assert predictor({"x": X})["y"][:, 0].tolist() == [6, 22]
        found = inspect_model(tmp_path / name, root=tmp_path, factory="own:from_file")
        assert (found.format, list(found.files)) == ("python", [name])
        with pytest.raises(InvalidInput, match=r"`model\.factory`"):
            open_model(tmp_path / name, root=tmp_path)


def test_a_constant_for_a_function_leaves_its_other_inputs_in_place(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    np.savez(tmp_path / "data.npz", x=X)
    declared = Signature((TensorSpec("by", "unknown", None),), ())
    opened = open_model(Path("own:shifted"), root=tmp_path, signature=declared)
    with batched(bind(opened, constants={"by": 2}, carries={})) as predictor:
        data = open_data("data.npz", root=tmp_path, signature=predictor.signature, label=None)
        assert predictor(data.head(2).inputs)["y"].tolist() == (X + 2).tolist()
