"""PyTorch models lose channels, learn to answer as before, and go on as any other form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from registry_examples import new_repository
from test_compression_pytorch import NETWORK, as_program, as_script, as_weights, compressed, lay_down

from gradatim.compression.distilling import distil
from gradatim.compression.fidelity import Fidelity
from gradatim.compression.layers import trainable
from gradatim.compression.pruning import prune
from gradatim.errors import InvalidInput
from gradatim.models import open_model
from gradatim.timing.contestant import save_inputs

torch = pytest.importorskip("torch")
pytest.importorskip("torch_pruning")
pytest.importorskip("safetensors")

WRITTEN = """
import torch

class Written(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.Conv2d(8, 16, 3, padding=1)
        self.last = torch.nn.Linear(1024, 10)

    def forward(self, image):
        found = self.second(torch.relu(self.first(image)))
        return {"scores": self.last(torch.relu(found).view(-1, 16 * 8 * 8))}


def make():
    return Written()


def one():
    return torch.nn.Sequential(torch.nn.Linear(8, 4))
"""
ROWS = np.random.default_rng(1).normal(size=(64, 1, 8, 8)).astype(np.float32)


def likeness(before: Any, after: Any) -> float:
    found = Fidelity()
    found.add(before({"image": ROWS}), after({"image": ROWS}))
    return found.result()["fidelity"]


@pytest.mark.parametrize("made", [as_program, as_weights])
def test_half_of_the_channels_are_taken_out_and_what_is_left_learns_to_answer_alike(
    tmp_path: Path, made: Callable[[Path], dict[str, str]]
) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    how = made(tmp_path)
    path = tmp_path / how.pop("path")
    learned = [save_inputs(tmp_path / "rows.npz", {"image": ROWS})]
    with (
        open_model(path, root=tmp_path, **how) as given,  # type: ignore[arg-type]
        open_model(path, root=tmp_path, **how) as another,  # type: ignore[arg-type]
    ):
        original, smaller = trainable(given), trainable(another)
        before = sum(map(torch.numel, smaller.module.parameters()))
        prune(smaller, 0.5, {"image": ROWS[:4]})
        assert sum(map(torch.numel, smaller.module.parameters())) < 0.52 * before
        untrained = likeness(given, another)
        distil(original, smaller, learned, seed=0, seconds=2)
        assert likeness(given, another) > untrained


@pytest.mark.parametrize("seconds", [0.05, 0.15])
def test_a_learning_that_has_time_for_a_few_steps_alone_leaves_nothing_worse_than_it_was(
    tmp_path: Path, seconds: float
) -> None:
    path = tmp_path / as_program(tmp_path)["path"]
    learned = [save_inputs(tmp_path / "rows.npz", {"image": ROWS})]
    with open_model(path, root=tmp_path) as given, open_model(path, root=tmp_path) as another:
        original, smaller = trainable(given), trainable(another)
        prune(smaller, 0.5, {"image": ROWS[:4]})
        untrained = likeness(given, another)
        distil(original, smaller, learned, seed=0, seconds=seconds)
        assert likeness(given, another) >= untrained


def test_a_program_taken_apart_into_layers_answers_as_before(tmp_path: Path) -> None:
    nn = torch.nn
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3, groups=2), nn.Flatten(2),
        nn.Conv1d(8, 4, 1, padding="same"), nn.LayerNorm(4), nn.Linear(4, 3), nn.LayerNorm(3, elementwise_affine=False),
    )  # fmt: skip
    net(torch.as_tensor(ROWS))  # gives the normalisation by batch its means
    torch.export.save(torch.export.export(net.eval(), (torch.as_tensor(ROWS),)), tmp_path / "m.pt2")
    with open_model(tmp_path / "m.pt2", root=tmp_path) as model:
        (before,) = model({"input": ROWS}).values()
        layers = [type(each).__name__ for each in trainable(model).module.modules()]
        (after,) = model({"input": ROWS}).values()
    assert sorted(layers)[:3] == ["AnyRank", "Conv2d", "Conv2d"]
    assert np.abs(before - after).max() < 1e-5


class Computed(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Weights that are computed, and a layer whose input is a weight of the network's own."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.first = nn.utils.parametrizations.weight_norm(nn.Linear(8, 16))
        self.asked, self.key = nn.Parameter(torch.ones(5, 8)), nn.Linear(8, 16)
        self.body = nn.Sequential(nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))

    def forward(self, row: Any) -> Any:
        return self.body(self.first(row) + self.key(self.asked).mean(0))


class Normalised(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.body = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))

    def forward(self, row: Any) -> Any:
        return self.body(row)


@pytest.mark.parametrize("net", [Computed, Normalised])
def test_a_network_with_computed_weights_or_normalised_by_batch_learns_even_from_single_rows(
    tmp_path: Path, net: Callable[[], Any]
) -> None:
    """The last batch of the calibration data may have one row, which says nothing about the spread of a column."""
    rows = ROWS[:8, 0, 0]
    free = ({0: torch.export.Dim("rows")},)
    program = torch.export.export(net().eval(), (torch.as_tensor(rows),), dynamic_shapes=free)
    torch.export.save(program, tmp_path / "m.pt2")
    learned = [save_inputs(tmp_path / f"{n}.npz", {"row": rows[:n]}) for n in (1, 8)]
    with (
        open_model(tmp_path / "m.pt2", root=tmp_path) as given,
        open_model(tmp_path / "m.pt2", root=tmp_path) as another,
    ):
        original, smaller = trainable(given), trainable(another)
        before = sum(map(torch.numel, smaller.module.parameters()))
        prune(smaller, 0.5, {"row": rows})
        distil(original, smaller, learned, seed=0, seconds=0.2)
        assert sum(map(torch.numel, smaller.module.parameters())) < before
        (answer,) = another({"row": rows}).values()
    assert np.isfinite(answer).all()


def test_a_layer_whose_size_is_written_into_the_code_keeps_its_channels(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    exec(WRITTEN, found)  # noqa: S102 (it is written above)
    (tmp_path / "net.py").write_text(WRITTEN)
    from safetensors.torch import save_model

    save_model(found["make"](), tmp_path / "m.safetensors")
    with open_model(tmp_path / "m.safetensors", root=tmp_path, factory="net:make") as model:
        smaller = trainable(model)
        prune(smaller, 0.5, {"image": ROWS[:4]})
        assert (smaller.module.first.out_channels, smaller.module.second.out_channels) == (4, 16)
        assert model({"image": ROWS})["scores"].shape == (64, 10)


def test_what_cannot_be_pruned_says_why(tmp_path: Path) -> None:
    as_script(tmp_path)
    with (
        open_model(tmp_path / "m.pt", root=tmp_path) as model,
        pytest.raises(InvalidInput, match=r"save the model with torch\.export"),
    ):
        trainable(model)
    from safetensors.torch import save_model

    (tmp_path / "net.py").write_text(WRITTEN)
    save_model(torch.nn.Sequential(torch.nn.Linear(8, 4)), tmp_path / "one.safetensors")
    with (
        open_model(tmp_path / "one.safetensors", root=tmp_path, factory="net:one") as model,
        pytest.raises(InvalidInput, match="no layer of it can lose channels"),
    ):
        prune(trainable(model), 0.5, {"input": ROWS[:4, 0, 0]})


@pytest.mark.parametrize(("there", "used"), [(4, 512), (40, 3)])
def test_too_few_rows_to_learn_from_and_to_judge_on_are_said_to_be_too_few(
    tmp_path: Path, there: int, used: int
) -> None:
    root = new_repository(tmp_path / "m")
    contract = lay_down(root, as_weights(root))
    np.savez(root / "rows.npz", image=ROWS[:there])
    asked = yaml.safe_load(contract.read_text())
    contract.write_text(yaml.safe_dump({**asked, "compress": {"methods": ["pruned"], "rows": used}}))
    with pytest.raises(InvalidInput, match=r"fewer than five rows.*compress\.rows"):
        compressed(contract)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_search_prunes_as_far_as_the_quality_bears_and_goes_on_from_there(tmp_path: Path) -> None:
    root = new_repository(tmp_path / "m")
    contract = lay_down(root, as_weights(root))
    rows = np.random.default_rng(0).normal(size=(300, 1, 8, 8)).astype(np.float32)
    np.savez(root / "rows.npz", image=rows)
    asked = yaml.safe_load(contract.read_text())
    asked["compress"] = {"keep": {"fidelity": "90%"}, "methods": ["int8-weights", "pruned"]}
    contract.write_text(yaml.safe_dump(asked))
    _, found, trials = compressed(contract)
    assert trials["pruned-50"].accepted
    assert {"pruned-75", "pruned-25"} & set(trials)
    assert found.variants[0].name.startswith("pruned-")
    assert any(
        name.endswith("-int8-weights") and trial.accepted
        for name, trial in trials.items()
        if "pruned" in name
    )
