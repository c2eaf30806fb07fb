"""Networks lose layers, learn to answer as before, and are as ONNX as short as they became."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradatim.compression.distilling import distil
from gradatim.compression.fidelity import Fidelity
from gradatim.compression.layers import trainable
from gradatim.compression.recipe import Recipe
from gradatim.compression.shortening import shorten
from gradatim.compression.thinning import thin
from gradatim.errors import InvalidInput
from gradatim.evidence.trial import Trial
from gradatim.models import open_model
from gradatim.models.onnx_export import export_torch
from gradatim.models.source import ModelSource
from gradatim.models.torch_program import module_predictor
from gradatim.timing.contestant import save_inputs

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

ROWS = np.random.default_rng(1).normal(size=(64, 1, 8, 8)).astype(np.float32)


def likeness(before: Any, after: Any) -> float:
    found = Fidelity()
    found.add(before({"image": ROWS}), after({"image": ROWS}))
    return found.result()["fidelity"]


class Pooled(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Two convolutions, a pooling and two dense layers, as functions and as layers."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.first, self.second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.norm, self.third, self.last = nn.BatchNorm2d(16), nn.Linear(256, 16), nn.Linear(16, 10)

    def forward(self, image: Any) -> Any:
        found = torch.relu(self.norm(self.second(torch.relu(self.first(image)))))
        found = torch.nn.functional.max_pool2d(found, 2).flatten(1)
        return {"scores": self.last(torch.relu(self.third(found)))}


def opened(net: Any, path: Path, *, program: bool) -> Any:
    """A network with one input of pictures, as a saved program or as a module."""
    source = ModelSource(path, path, "python", "net:make", None, "cpu", 1, allow_pickle=False)
    if not program:
        return module_predictor(source, net)
    free = ({0: torch.export.Dim("rows")},)
    made = torch.export.export(net.eval(), (torch.zeros(2, 1, 8, 8),), dynamic_shapes=free)
    torch.export.save(made, path / "m.pt2")
    return open_model(path / "m.pt2", root=path)


@pytest.mark.parametrize("program", [True, False])
@pytest.mark.parametrize(("count", "left"), [(1, "max_pool"), (2, "second Conv2d"), (3, "second Linear")])
def test_a_pooling_becomes_a_stride_and_two_layers_one_and_the_shorter_network_learns(
    tmp_path: Path, *, program: bool, count: int, left: str
) -> None:
    with (
        opened(Pooled(), tmp_path, program=program) as model,
        opened(Pooled(), tmp_path, program=program) as other,
    ):
        smaller = trainable(model)
        shorten(smaller, count, {"image": ROWS[:4]}, seed=0)
        untrained = likeness(other, model)
        distil(other, smaller, [save_inputs(tmp_path / "rows.npz", {"image": ROWS})], seed=0, seconds=0.5)
        assert likeness(other, model) > untrained
        export_torch(smaller, {"image": ROWS[:4]}, tmp_path / "m.onnx")
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node)
    assert kinds["MaxPool"] == 0, left
    assert (kinds["Conv"], kinds["Gemm"]) == {1: (2, 2), 2: (1, 2), 3: (1, 1)}[count], left
    with open_model(tmp_path / "m.onnx", root=tmp_path) as exported:
        assert exported({"image": ROWS[:1]})["scores"].shape == (1, 10)


class Branched(torch.nn.Module):  # type: ignore[misc, name-defined]
    """What each layer gives is used twice, or is the model's own answer; and a pooling leaves more out than a layer sees."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.first, self.second = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 1)
        self.third, self.last = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, image: Any) -> Any:
        found = self.first(image) + image
        found = torch.nn.functional.avg_pool2d(self.second(found), 4).flatten(1)
        return self.last(self.third(found) + found) * torch.sigmoid(found)


@pytest.mark.parametrize("program", [True, False])
def test_layers_that_no_other_can_stand_for_stay(tmp_path: Path, *, program: bool) -> None:
    with opened(Branched(), tmp_path, program=program) as model:
        before = model({"image": ROWS})
        with pytest.raises(InvalidInput, match="fewer than 1 of its layers"):
            shorten(trainable(model), 1, {"image": ROWS[:4]}, seed=0)
        after = model({"image": ROWS})
    assert all(np.allclose(before[name], after[name], atol=1e-6) for name in before)


class Asking(Branched):
    def forward(self, image: Any) -> Any:
        return super().forward(image if image.sum() > 0 else -image)


def test_a_network_whose_code_asks_for_values_keeps_its_layers_and_says_why(tmp_path: Path) -> None:
    with (
        opened(Asking(), tmp_path, program=False) as model,
        pytest.raises(InvalidInput, match="its code cannot be followed from call to call"),
    ):
        shorten(trainable(model), 1, {"image": ROWS[:4]}, seed=0)


@pytest.mark.parametrize(
    ("bears", "wanted"),
    [
        (
            {0.5: 0, 0.75: 2, 0.875: -1},
            ["pruned-50", "pruned-75", "pruned-75-shorter-1", "pruned-75-shorter-2"],
        ),
        ({0.5: 1, 0.75: 0, 0.875: -1}, ["pruned-50", "pruned-75", "pruned-50-shorter-1"]),
        ({0.5: 0, 0.75: -1, 0.625: 0}, ["pruned-50", "pruned-62"]),
        ({0.5: -1, 0.25: -1, 0.125: -1}, []),
    ],
)
def test_layers_go_where_most_channels_went_as_many_as_the_quality_bears(
    bears: dict[float, int], wanted: list[str]
) -> None:
    """``bears``: the share of channels that are gone -> how many layers may go besides; -1: not even the channels."""
    tried: list[str] = []

    def attempt(recipe: Recipe) -> Trial:
        tried.append(recipe.name)
        accepted = bears[recipe.share] >= recipe.shorter
        return Trial(recipe.name, recipe.record(), accepted, "", {}, size=100)

    assert [trial.name for trial in thin(Recipe("pruned"), attempt, layers=True)] == wanted
    assert len(tried) == len(set(tried)) <= 6
    assert not any("shorter" in trial.name for trial in thin(Recipe("pruned"), attempt, layers=False))
