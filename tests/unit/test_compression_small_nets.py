"""Networks of a few numbers, taken apart, shortened and taught: what comes out is known beforehand."""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from gradatim.compression import distilling, dropping
from gradatim.compression.layers import _take_apart, trainable
from gradatim.compression.pruning import _Pruning, prune
from gradatim.errors import InvalidInput
from gradatim.models.generation import LanguageModel
from gradatim.models.predictor import RuntimeModel
from gradatim.models.speech import ASKED
from gradatim.models.token_by_token import Tokenised
from gradatim.models.torch_program import TorchModel
from gradatim.signature import Signature

torch = pytest.importorskip("torch")
nn: Any = torch.nn
ANGLES = (0.0, 0.5, 0.1, 1.0, 0.05)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    many = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(many)


class Turn(nn.Module):  # type: ignore[misc]
    """A layer that turns every hidden state by an angle."""

    def __init__(self, angle: float, place: int, *, plain: bool = False) -> None:
        super().__init__()
        cos, sin = math.cos(angle), math.sin(angle)
        self.register_buffer("by", torch.tensor([[cos, sin], [-sin, cos]]))
        self.angle, self.plain, self.attention = angle, plain, nn.Identity()
        self.attention.layer_idx = place

    def forward(self, hidden: Any) -> Any:
        turned = hidden @ self.by
        return turned if self.plain else (turned, "cache")


class Decoder(nn.Module):  # type: ignore[misc]
    """Tokens as points of a plane, turned by layer after layer."""

    def __init__(self, angles: Sequence[float] = ANGLES, **config: Any) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.tokens = nn.Parameter(torch.randn(7, 2, generator=generator))
        self.blocks = nn.ModuleList(
            Turn(angle, place, plain=place == 1) for place, angle in enumerate(angles)
        )
        self.heads = nn.ModuleList(nn.Identity() for _ in range(len(angles) + 1))
        self.config = SimpleNamespace(num_hidden_layers=len(angles), **config)
        self.asked: list[dict[str, Any]] = []

    def forward(self, **given: Any) -> Any:
        self.asked.append(given)
        hidden = self.tokens[given["input_ids"]]
        for block in self.blocks:
            found = block(hidden)
            hidden = found[0] if isinstance(found, tuple) else found
        return SimpleNamespace(logits=hidden @ self.tokens.T)


def angles(network: Decoder) -> list[float]:
    return [block.angle for block in network.blocks]


def test_the_layers_of_a_decoder_are_the_one_list_that_is_as_long_as_its_config_says() -> None:
    for many in (2, 3, 5):
        network = Decoder(ANGLES[:many])
        name, layers = dropping._layers(network)
        assert (name, layers) == ("blocks", network.blocks)
        network.heads.append(nn.Identity())
        assert dropping._layers(network)[0] == "blocks"
    twice, single, wrong, silent = Decoder(), Decoder((0.1,)), Decoder(), Decoder()
    twice.others = nn.ModuleList(nn.Identity() for _ in ANGLES)
    wrong.config.num_hidden_layers = 4
    del silent.config.num_hidden_layers
    for network in (twice, single, wrong, silent):
        with pytest.raises(InvalidInput, match="Decoder has no single list of two layers or more"):
            dropping._layers(network)


@pytest.mark.parametrize("rows", [[[1, 2, 3]], [[1, 2, 3], [4], [5, 6]]])
def test_the_influence_of_a_layer_is_how_far_it_turns_what_goes_through_it(rows: list[list[int]]) -> None:
    network = Decoder()
    found = dropping._influence(network, network.blocks, rows)
    assert found == pytest.approx([len(rows) * (1 - math.cos(angle)) for angle in ANGLES], abs=1e-5)
    assert [given["input_ids"].tolist() for given in network.asked] == [[row] for row in rows]
    assert not any(given["use_cache"] for given in network.asked)
    assert not any(block._forward_hooks for block in network.blocks), "nothing goes on watching"


def test_a_network_that_lost_layers_counts_what_is_left_and_so_does_its_config() -> None:
    kinds = ["full", "sliding", "full", "sliding", "full"]
    network = Decoder(layer_types=list(kinds), architectures=list(kinds), sizes=[1, 2], name="abcde")
    network.model = nn.Module()
    network.model.inner = network.blocks
    dropping._keep(network, "model.inner", network.blocks, [1, 3, 4])
    left = network.model.inner
    assert [block.angle for block in left] == [ANGLES[1], ANGLES[3], ANGLES[4]]
    assert [block.attention.layer_idx for block in left] == [0, 1, 2]
    assert not any(hasattr(block, "layer_idx") for block in left)
    assert vars(network.config) == {
        "num_hidden_layers": 3, "layer_types": ["sliding", "sliding", "full"], "architectures": kinds, "sizes": [1, 2],
        "name": "abcde",
    }  # fmt: skip


def by_hand(original: Decoder, network: Decoder, rows: Sequence[Sequence[int]]) -> float:
    """The mean divergence over the tokens of rows, in nat."""
    each: list[float] = []
    for row in rows:
        with torch.no_grad():
            wanted, found = (
                one(input_ids=torch.tensor([row])).logits[0].double().numpy() for one in (original, network)
            )
        wanted, found = (np.log(np.exp(one) / np.exp(one).sum(-1, keepdims=True)) for one in (wanted, found))
        each += (np.exp(wanted) * (wanted - found)).sum(-1).tolist()
    return float(np.mean(each))


@pytest.mark.parametrize("rows", [[[1, 2, 3]], [[1], [4, 5, 6, 1, 2], [3, 3], [6, 2, 4]]])
def test_what_a_shorter_model_learns_from_is_its_divergence_from_the_original_a_mean_over_tokens(
    monkeypatch: pytest.MonkeyPatch, rows: list[list[int]]
) -> None:
    """Rows of other lengths are filled up, and what fills them up counts for nothing."""
    original, network = Decoder(), Decoder(ANGLES[:2])
    seen: list[tuple[float, dict[str, Any]]] = []
    monkeypatch.setattr(dropping, "descend", lambda _, loss, **how: seen.append((loss().item(), how)))
    dropping._distil(original, network, rows, 0, 7.0)
    ((found, how),) = seen
    assert found == pytest.approx(by_hand(original, network, rows), rel=1e-4)
    assert how == {"seconds": 7.0, "rate": 5e-4, "enough": 1e-4}


def test_each_step_learns_from_eight_rows_drawn_by_the_seed_and_no_wider_than_the_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [[1 + place % 6] * (1 + place % 5) for place in range(40)]

    def steps(seed: int) -> list[list[list[int]]]:
        original, network = Decoder(), Decoder(ANGLES[:2])
        monkeypatch.setattr(dropping, "descend", lambda _, loss, **how: [loss() for _ in range(6)])
        dropping._distil(original, network, rows, seed, 1.0)
        found = []
        for given, theirs in zip(network.asked, original.asked, strict=True):
            assert given["use_cache"] is False
            assert given["input_ids"].equal(theirs["input_ids"])
            tokens, mask = given["input_ids"].tolist(), given["attention_mask"].tolist()
            widths = [sum(one) for one in mask]
            assert len(tokens) == 8
            assert max(widths) == len(tokens[0])
            assert mask == [[1] * width + [0] * (len(tokens[0]) - width) for width in widths]
            assert all(not any(row[width:]) for row, width in zip(tokens, widths, strict=True))
            found.append([row[:width] for row, width in zip(tokens, widths, strict=True)])
        assert all(row in rows for step in found for row in step)
        return found

    assert steps(3) == steps(3) != steps(4)
    assert {len(row) for step in steps(3) for row in step} == {1, 2, 3, 4, 5}


class Words:
    """Every letter is a token."""

    bos_token_id, eos_token_id, chat_template = 0, None, None

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) - ord("a") + 1 for letter in text]}


def spoken(network: Any) -> LanguageModel:
    tokens = Tokenised(Words(), "small", None)
    return LanguageModel(network, tokens, "small", ASKED, lambda given: given, device="cpu", threads=1)


def requests(many: int) -> list[str]:
    return [json.dumps({"prompt": "ab", "target": "cdef"[: 1 + place % 4]}) for place in range(many)]


@pytest.mark.parametrize(
    ("share", "left"),
    [(0.01, [1, 2, 3, 4]), (0.3, [1, 2, 3]), (0.4, [1, 2, 3]), (0.5, [1, 2, 3]), (0.6, [1, 3]), (0.99, [3])],
)
def test_the_layers_that_change_least_go_and_one_goes_and_one_stays_whatever_the_share(
    monkeypatch: pytest.MonkeyPatch, share: float, left: list[int]
) -> None:
    monkeypatch.setattr(dropping, "descend", lambda *_, **__: None)
    original, network = Decoder(), Decoder()
    network.half()
    dropping.drop_layers(spoken(original), spoken(network), share, requests(40), 0, 1.0)
    assert angles(network) == [ANGLES[place] for place in left]
    assert angles(original) == list(ANGLES)
    assert network.tokens.dtype == torch.float32
    assert len(network.asked) == 32, "as many rows as say it"


def test_a_model_that_lost_a_layer_learns_to_say_what_it_said_and_stops_where_there_is_nothing_to_learn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distilling, "_STEPS", 300)  # by count, for a busy machine has time for few
    original, network = Decoder((0.3, 1.0, 0.6)), Decoder((0.3, 1.0, 0.6))
    rows = [[1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]]
    dropping.drop_layers(spoken(original), spoken(network), 0.3, requests(8), 0, 600.0)
    assert angles(network) == [1.0, 0.6]
    assert by_hand(original, network, rows) < 0.9 * by_hand(original, Decoder((1.0, 0.6)), rows)
    same = Decoder((0.3, 1.0, 0.6))
    dropping._distil(original, same, rows, 0, 600.0)
    assert len(same.asked) == 32, "the mean of as many steps says that it is enough"


def test_what_has_no_layers_to_lose_is_said() -> None:
    plain = RuntimeModel("m", Signature((), ()), lambda given: given, device="cpu", threads=1)
    for one, other in ((plain, spoken(Decoder())), (spoken(Decoder()), plain)):
        with pytest.raises(InvalidInput, match="only a Hugging Face folder can lose layers"):
            dropping.drop_layers(one, other, 0.5, requests(1), 0, 1.0)


aten = torch.ops.aten
DRAWN = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> Any:
    return torch.randn(*shape, generator=DRAWN)


CALLS: dict[str, tuple[str, Any, tuple[Any, ...], Any]] = {
    "a product": ("Linear", aten.linear.default, (drawn(3, 4), drawn(3)), drawn(2, 4)),
    "a product without a bias": ("Linear", aten.linear.default, (drawn(3, 4),), drawn(2, 4)),
    "a row": ("Conv1d", aten.conv1d.default, (drawn(5, 4, 3), drawn(5), [2], [1], [2]), drawn(2, 4, 9)),
    "an image": ("Conv2d", aten.conv2d.default, (drawn(6, 4, 3, 3), None, [2, 1], [1, 0], [1, 2]), drawn(2, 4, 9, 8)),
    "an image, one number for both axes": ("Conv2d", aten.conv2d.default, (drawn(6, 4, 3, 3), drawn(6), [2], [1]), drawn(2, 4, 9, 8)),
    "an image in groups": ("Conv2d", aten.conv2d.default, (drawn(6, 2, 3, 1), drawn(6), [1, 1], [0, 0], [1, 1], 2), drawn(2, 4, 9, 8)),
    "an image by defaults": ("Conv2d", aten.conv2d.default, (drawn(6, 4, 3, 3),), drawn(2, 4, 9, 8)),
    "an image that keeps its size": ("Conv2d", aten.conv2d.padding, (drawn(6, 4, 3, 3), drawn(6), [1, 1], "same"), drawn(2, 4, 9, 8)),
    "a volume": ("Conv3d", aten.conv3d.default, (drawn(3, 2, 2, 3, 1), drawn(3), [1, 2, 1]), drawn(1, 2, 4, 7, 3)),
    "normalised by batch": ("AnyRank", aten.batch_norm.default, (drawn(4), drawn(4), drawn(4), drawn(4).abs(), False, 0.3, 1e-3, True), drawn(5, 4, 3)),
    "normalised by batch and no more": ("AnyRank", aten.batch_norm.default, (None, None, drawn(4), drawn(4).abs(), False, 0.3, 1e-3, True), drawn(5, 4)),
    "normalised by row": ("LayerNorm", aten.layer_norm.default, ([4], drawn(4), drawn(4), 1e-2), drawn(2, 3, 4)),
    "normalised by row without a bias": ("LayerNorm", aten.layer_norm.default, ([3, 4], drawn(3, 4)), drawn(2, 3, 4)),
}  # fmt: skip


def program(call: Any, given: tuple[Any, ...], *, twice: bool = False) -> Any:
    """A program as ``torch.export`` has it: a call with weights that the program holds."""
    root, graph = nn.Module(), torch.fx.Graph()
    root.held = nn.Module()
    rows = graph.placeholder("rows")

    def held() -> list[Any]:
        made = []
        for place, one in enumerate(given):
            if isinstance(one, torch.Tensor):
                root.held.register_parameter(f"w{place}", nn.Parameter(one, requires_grad=False))
                one = graph.get_attr(f"held.w{place}")
            made.append(one)
        return made

    found = graph.call_function(call, (rows, *held()))
    if twice:
        found = (found, graph.call_function(call, (rows, *held())))
    graph.output(found)
    return torch.fx.GraphModule(root, graph)


@pytest.mark.parametrize("name", CALLS)
def test_each_call_with_weights_of_its_own_becomes_a_layer_that_answers_alike(name: str) -> None:
    kind, call, given, rows = CALLS[name]
    made = program(call, given)
    before = made(rows)
    _take_apart(made)
    layers = [layer for path, layer in made.named_modules() if path.startswith("layer_")]
    if name == "an image that keeps its size":  # known by another name, and left as it is
        assert layers == []
    else:
        assert [type(layer).__name__ for layer in layers] == [kind]
        weights = [one for one in given if isinstance(one, torch.Tensor)]
        assert sum(map(len, map(list, (layers[0].parameters(), layers[0].buffers())))) in (
            len(weights),
            len(weights) + 1,
        )
    assert torch.allclose(made(rows), before, atol=1e-5)
    assert hasattr(made, "held") is not bool(layers), "no weight is kept twice"
    made.train()
    made.eval()


def test_weights_of_two_calls_and_a_normalisation_that_still_learns_stay_as_they_are() -> None:
    shared = program(aten.linear.default, (drawn(3, 4), drawn(3)), twice=True)
    learning = program(
        aten.batch_norm.default, (drawn(4), drawn(4), drawn(4), drawn(4).abs(), True, 0.3, 1e-3, True)
    )
    blank = program(aten.layer_norm.default, ([4], None, None, 1e-2))
    homeless = program(aten.batch_norm.default, (drawn(4), drawn(4), None, None, False, 0.3, 1e-3, True))
    for one in (shared, learning, blank, homeless):
        _take_apart(one)
        assert not [path for path, _ in one.named_modules() if path.startswith("layer_")]


def test_a_weight_that_is_computed_stays_computed() -> None:
    root, graph = nn.Module(), torch.fx.Graph()
    root.register_parameter("w", nn.Parameter(drawn(3, 4)))
    rows = graph.placeholder("rows")
    doubled = graph.call_function(aten.mul.Tensor, (graph.get_attr("w"), 2.0))
    graph.output(graph.call_function(aten.linear.default, (rows, doubled)))
    made = torch.fx.GraphModule(root, graph)
    given = drawn(2, 4)
    before = made(given)
    _take_apart(made)
    assert torch.equal(made(given), before)
    assert [path for path, _ in made.named_parameters()] == ["w"]


def as_model(module: Any) -> TorchModel:
    model = TorchModel("m", Signature((), ()), lambda given: given, device="cpu", threads=1)
    model.module = module
    return model


def test_what_cannot_be_taken_apart_is_said_and_a_plain_network_stays_itself() -> None:
    plain = as_model(nn.Linear(2, 2))
    assert trainable(plain) is plain
    assert type(plain.module) is nn.Linear
    script = as_model(torch.jit.script(nn.Linear(2, 2)))
    with pytest.raises(InvalidInput, match=r"save the model with torch\.export, as \.pt2"):
        trainable(script)
    other = RuntimeModel("m", Signature((), ()), lambda given: given, device="cpu", threads=1)
    with pytest.raises(InvalidInput, match="only a model of PyTorch's formats"):
        trainable(other)
    taken = as_model(program(aten.linear.default, (drawn(3, 4), drawn(3))))
    assert "layer_" in " ".join(path for path, _ in trainable(taken).module.named_modules())


class Pruner:
    """As torch-pruning is called: it takes rows out of each layer that is not left alone, and columns out of the next."""

    told: ClassVar[list[dict[str, Any]]]

    def __init__(
        self, module: Any, given: Any, *, ignored_layers: list[Any], pruning_ratio: float, **how: Any
    ) -> None:
        self.layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
        self.ignored, self.share = [id(layer) for layer in ignored_layers], pruning_ratio
        assert how["forward_fn"](module, given)[0].grad_fn is not None
        self.told.append(
            {
                "ignored": [place for place, one in enumerate(self.layers) if id(one) in self.ignored],
                "share": pruning_ratio,
            }
        )

    def step(self) -> None:
        for layer, after in zip(self.layers, [*self.layers[1:], None], strict=True):
            if id(layer) not in self.ignored:
                left = layer.out_features - round(self.share * layer.out_features)
                layer.weight, layer.bias = nn.Parameter(layer.weight[:left]), nn.Parameter(layer.bias[:left])
                layer.out_features = left
                if after is not None:
                    after.weight, after.in_features = nn.Parameter(after.weight[:, :left]), left


@pytest.fixture
def pruner(monkeypatch: pytest.MonkeyPatch) -> type[Pruner]:
    Pruner.told = []
    tool = SimpleNamespace(
        pruner=SimpleNamespace(BasePruner=Pruner),
        importance=SimpleNamespace(GroupMagnitudeImportance=lambda p: p),
    )
    monkeypatch.setitem(sys.modules, "torch_pruning", tool)
    return Pruner


def dense(*widths: int) -> TorchModel:
    layers = [nn.Linear(one, other) for one, other in itertools.pairwise(widths)]
    module = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
    module.register_buffer("counted", torch.ones(2, dtype=torch.int64))
    model = as_model(module)
    model.forward = lambda tensors: {"y": module(tensors["x"]), "seen": tensors["x"].detach()}
    return model


def widths(model: TorchModel) -> list[int]:
    return [layer.out_features for layer in model.module.modules() if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize(("share", "left"), [(0.5, [4, 8, 2, 3]), (0.25, [6, 12, 3, 3])])
@pytest.mark.usefixtures("pruner")
def test_every_layer_loses_its_share_but_the_one_whose_width_is_the_answers(
    share: float, left: list[int]
) -> None:
    model = dense(5, 8, 16, 4, 3)
    prune(model, share, {"x": np.ones((2, 5), np.float32)})
    assert widths(model) == left
    assert model.module(torch.ones(2, 5)).shape == (2, 3)
    assert all(parameter.requires_grad for parameter in model.module.parameters())


def test_what_may_be_pruned_is_tried_on_a_network_that_is_put_back(pruner: type[Pruner]) -> None:
    model = dense(5, 8, 16, 4, 3)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    work = _Pruning(SimpleNamespace(pruner=SimpleNamespace(BasePruner=pruner), importance=sys.modules["torch_pruning"].importance), model, {"x": torch.ones(2, 5)})  # fmt: skip
    assert work.weights() == 5 * 8 + 8 + 8 * 16 + 16 + 16 * 4 + 4 + 4 * 3 + 3
    assert work.prunable(work.layers) == work.layers[:3]
    assert work.prunable(work.layers[3:]) == []
    assert work.prunable([]) == []
    assert work.prunable(work.layers[:2]) == work.layers[:2]
    assert work.holds(work.layers[:1], 0.5)
    assert not work.holds(work.layers, 0.5)
    after = model.module.state_dict()
    assert all(after[name].equal(value) for name, value in before.items())
    assert widths(model) == [8, 16, 4, 3]
    work.prune(work.layers[:1], 0.5)
    assert widths(model) == [4, 16, 4, 3]
    assert pruner.told[-1] == {"ignored": [1, 2, 3], "share": 0.5}


@pytest.mark.usefixtures("pruner")
def test_a_network_of_which_no_layer_can_lose_anything_is_said() -> None:
    for model in (dense(5, 3), dense(5, 3, 3)):
        if len(widths(model)) == 1:
            with pytest.raises(InvalidInput, match="no layer of it can lose channels"):
                prune(model, 0.5, {"x": np.ones((2, 5), np.float32)})
            assert widths(model) == [3]
        else:
            prune(model, 0.34, {"x": np.ones((2, 5), np.float32)})
            assert widths(model) == [2, 3]
