"""What the contract lets PyTorch compute with, and graphs of CUDA: taken at its word, or refused in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gate_project import CONTRACT, write_model
from registry_examples import commit_file, new_repository

from gradatim.candidate.candidate import Candidate
from gradatim.ci.laptop import Laptop
from gradatim.contract.reading import read_contract
from gradatim.errors import ContractError, GradatimError
from gradatim.evidence.statement import Statement
from gradatim.pipeline.step import run_step
from gradatim.timing.contestant import Contestant
from gradatim.timing.paired import compare

torch = pytest.importorskip("torch")

ROWS = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that keeps the type of numbers that its first layer gives in its second output."""
    torch.manual_seed(0)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x)

    path = tmp_path_factory.mktemp("network") / "net.pt"
    torch.jit.trace(Net(), torch.zeros(2, 6)).save(str(path))
    return path


def project(folder: Path, model: Path, more: str, benchmark: str = "{rounds: 3}") -> Path:
    root = new_repository(folder / "project")
    (root / model.name).write_bytes(model.read_bytes())
    np.savez(root / "test.npz", x=ROWS, label=ROWS[:, :3].argmax(1))
    text = CONTRACT % {"data": "inputs: {x: x}", "test": "", "gates": "  size: {at_most: 1 GB}"}
    named = f"path: {model.name}, {more}inputs: {{x: {{}}}}, outputs: {{scores: {{}}}}}}"
    text = text.replace("path: model.onnx}", named)
    (root / "gradatim.yml").write_text(f"{text}\nbenchmark: {benchmark}\n")
    commit_file(root, ".gitignore", b".gradatim/\n")
    return root


def candidate(root: Path) -> Candidate:
    return Candidate(read_contract(root / "gradatim.yml"), Laptop(), "alpha")


def answers(made: Candidate) -> np.ndarray:
    with made.model.open(made.forms.original.path) as model:
        return model({"x": ROWS})["scores"]


def test_every_step_computes_with_what_the_contract_lets_it(network: Path, tmp_path: Path) -> None:
    layer = torch.jit.load(str(network))
    with torch.inference_mode():
        exact = layer(torch.tensor(ROWS)).numpy()
        with torch.autocast("cpu", torch.bfloat16):
            rounded = layer(torch.tensor(ROWS)).float().numpy()
    assert np.array_equal(answers(candidate(project(tmp_path / "as it is", network, ""))), exact)
    made = candidate(project(tmp_path / "bf16", network, "autocast: bf16, "))
    assert np.array_equal(answers(made), rounded)
    assert not np.array_equal(exact, rounded)
    assert np.array_equal(rounded, torch.tensor(rounded).bfloat16().float().numpy())


def test_the_benchmark_times_it_so_and_its_evidence_is_of_it_alone(network: Path, tmp_path: Path) -> None:
    told: list[Statement] = []
    for name, more in (("plain", ""), ("bf16", "autocast: bf16, ")):
        made = candidate(project(tmp_path / name, network, more))
        run_step("inspect", made)
        run_step("benchmark", made)
        found = made.workspace.statement("benchmark")
        assert found is not None
        told.append(found)
    assert told[0].inputs["contract"] != told[1].inputs["contract"]
    values = [{m.name: m.value for m in one.measurements} for one in told]
    assert all(one["latency_p50"] for one in values)


def test_what_pytorch_does_not_run_is_refused_in_words(tmp_path: Path) -> None:
    write_model(tmp_path / "model.onnx", "old")
    made = candidate(project(tmp_path, tmp_path / "model.onnx", "autocast: bf16, "))
    with pytest.raises(
        GradatimError, match=r"is onnx, and `model\.autocast` \(bf16\) is for networks that PyTorch runs"
    ):
        answers(made)


@pytest.mark.parametrize("said", ["int8", "float16", "true"])
def test_another_type_of_numbers_is_refused_where_it_stands(network: Path, tmp_path: Path, said: str) -> None:
    root = project(tmp_path, network, f"autocast: {said}, ")
    with pytest.raises(ContractError, match=r"gradatim\.yml:1.*autocast.*bf16"):
        read_contract(root / "gradatim.yml")


def test_graphs_of_cuda_need_a_gpu_in_the_contract(network: Path, tmp_path: Path) -> None:
    root = project(tmp_path, network, "", "{cuda_graphs: true}")
    with pytest.raises(
        ContractError, match=r"gradatim\.yml:\d+.*`cuda_graphs` needs a GPU, and `model\.device` is cpu"
    ):
        read_contract(root / "gradatim.yml")


def test_graphs_of_cuda_are_never_passed_over_in_silence(network: Path, tmp_path: Path) -> None:
    """Where no GPU is, and where PyTorch does not run the model."""
    write_model(tmp_path / "model.onnx", "old")
    onnx = Contestant("one", tmp_path / "model.onnx", tmp_path, cuda_graphs=True)
    with pytest.raises(GradatimError, match=r"a network that PyTorch runs on `model\.device: cuda`"):
        compare([onnx], {"x": ROWS}, rounds=2)
    if not torch.cuda.is_available():
        gpu = Contestant("one", network, network.parent, device="cuda", cuda_graphs=True)
        with pytest.raises(GradatimError, match="PyTorch sees no such GPU here"):
            compare([gpu], {"x": ROWS}, rounds=2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_replayed_call_answers_as_the_network_does(network: Path) -> None:
    from gradatim.models import open_model
    from gradatim.models.cuda_graphs import replay_calls

    with open_model(network, root=network.parent, device="cuda") as model:
        before = model({"x": ROWS})
        replay_calls(model)
        for rows in (ROWS, ROWS[:7], ROWS):
            after = model({"x": rows})
            for name, values in after.items():
                assert np.allclose(values, before[name][: len(rows)], atol=1e-5)
