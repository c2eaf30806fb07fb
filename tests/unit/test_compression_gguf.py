"""GGUF files are made smaller: their matrices in fewer bits, in types that llama.cpp runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradatim.compression.language import stored
from gradatim.compression.recipe import Recipe
from gradatim.compression.result import Result
from gradatim.compression.search import compress
from gradatim.compression.subject import tried
from gradatim.errors import InvalidInput
from gradatim.metrics.answers import REQUEST, read_answer
from gradatim.models import open_model
from gradatim.models.gguf_file import gguf_header
from gradatim.signature import Signature, TensorSpec
from gradatim.timing.contestant import Contestant

gguf = pytest.importorskip("gguf")

ASKED = Signature((TensorSpec(REQUEST, "str", ("batch",)),), ())
WIDE, DEEP = 64, 2
CHAT = "{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
SAID = {"max_new_tokens": 6, "temperature": 0.0, "seed": 0, "samples": 1, "wants": ["text"]}
LINES = [{**SAID, "messages": [{"role": "user", "content": word}]} for word in ("abc", "cab", "bad")]
ROWS = [{REQUEST: np.array([json.dumps(line) for line in LINES], object)}]


def write_llama(
    path: Path, *, head: bool = False, odd: bool = False, told: Mapping[str, Any] | None = None, **kinds: str
) -> Path:
    """A Llama of letters with weights by chance; ``kinds``: tensor -> ggml's type, F32 where none is named; ``odd``: one more
    matrix, whose rows no block divides."""
    writer, chance = gguf.GGUFWriter(path, "llama"), np.random.default_rng(0)
    letters = ["<s>", "</s>", *map(chr, range(33, 127)), "Ġ"]
    for key, said in {
        "block_count": DEEP,
        "context_length": 64,
        "embedding_length": WIDE,
        "feed_forward_length": 96,
    }.items():
        writer.add_uint32(f"llama.{key}", said)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(letters)
    writer.add_token_types([3, 3] + [1] * (len(letters) - 2))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template(CHAT)
    for key, said in (told or {}).items():
        writer.add_uint32(key, said)
    shapes = {
        "token_embd": (len(letters), WIDE),
        **({"output": (len(letters), WIDE)} if head else {}),
        **({"odd": (4, 40)} if odd else {}),
        "output_norm": (WIDE,),
    }
    for layer in range(DEEP):
        parts = {
            "attn_norm": (WIDE,), "attn_q": (WIDE, WIDE), "attn_k": (32, WIDE), "attn_v": (32, WIDE), "attn_output": (WIDE, WIDE),
            "ffn_norm": (WIDE,), "ffn_gate": (96, WIDE), "ffn_up": (96, WIDE), "ffn_down": (WIDE, 96),
        }  # fmt: skip
        shapes |= {f"blk.{layer}.{part}": shape for part, shape in parts.items()}
    for name, shape in shapes.items():
        weight = np.ones(shape) if len(shape) == 1 else chance.standard_normal(shape) * 0.1
        weight, kind = weight.astype(np.float32), kinds.get(name.replace(".", "_"), "F32")
        if kind != "F32":
            weight = gguf.quants.quantize(weight, gguf.GGMLQuantizationType[kind])
        writer.add_tensor(f"{name}.weight", weight, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def weights(path: Path, name: str) -> Any:
    tensor = gguf_header(path).tensors[name]
    data = np.fromfile(path, np.uint8, tensor.size, offset=tensor.begin)
    kind = gguf.GGMLQuantizationType[tensor.stored]
    return gguf.quants.dequantize(data.reshape(tensor.shape[0], -1), kind).reshape(tensor.shape)


@pytest.mark.parametrize(
    ("method", "far"), [("q8_0", 0.01), ("q5_1", 0.04), ("q5_0", 0.05), ("q4_1", 0.08), ("q4_0", 0.09)]
)
def test_matrices_of_a_gguf_file_get_fewer_bits_and_nothing_else_changes(
    tmp_path: Path, method: str, far: float
) -> None:
    model = write_llama(tmp_path / "m.gguf")
    form = tmp_path / "form.gguf"
    stored(model, form, Recipe(method))
    before, after = gguf_header(model), gguf_header(form)
    assert after.settings == {
        **before.settings,
        "general.file_type": int(gguf.LlamaFileType[f"MOSTLY_{method.upper()}"]),
    }
    for name, tensor in after.tensors.items():
        assert tensor.shape == before.tensors[name].shape
        wanted = "F32" if "norm" in name else "Q8_0" if name == "token_embd.weight" else method.upper()
        assert tensor.stored == wanted, name
        assert tensor.begin % 32 == 0
        old, new = weights(model, name), weights(form, name)
        assert np.abs(new - old).mean() <= (0 if wanted == "F32" else far) * 0.1
    assert form.stat().st_size < 0.4 * model.stat().st_size
    assert [tensor.name for tensor in gguf.GGUFReader(form).tensors] == [*before.tensors]


def test_a_gguf_files_head_keeps_8_bits_and_its_embedding_none_then(tmp_path: Path) -> None:
    model = write_llama(tmp_path / "m.gguf", head=True)
    stored(model, tmp_path / "form.gguf", Recipe("q4_0"))
    found = {name: tensor.stored for name, tensor in gguf_header(tmp_path / "form.gguf").tensors.items()}
    assert (found["output.weight"], found["token_embd.weight"]) == ("Q8_0", "Q4_0")


def test_what_has_few_bits_already_or_rows_of_no_whole_blocks_stays_as_it_is(tmp_path: Path) -> None:
    model = write_llama(
        tmp_path / "m.gguf",
        odd=True,
        blk_0_attn_q="Q4_0",
        blk_1_attn_q="Q8_0",
        blk_1_ffn_up="Q5_1",
        blk_0_ffn_up="F16",
    )
    stored(model, tmp_path / "form.gguf", Recipe("q5_0"))
    found = {name: tensor.stored for name, tensor in gguf_header(tmp_path / "form.gguf").tensors.items()}
    names = ("blk.0.attn_q", "odd", "blk.1.attn_q", "blk.1.ffn_up", "blk.0.ffn_up")
    assert [found[f"{name}.weight"] for name in names] == ["Q4_0", "F32", "Q5_0", "Q5_0", "Q5_0"]
    assert np.array_equal(
        weights(model, "blk.0.attn_q.weight"), weights(tmp_path / "form.gguf", "blk.0.attn_q.weight")
    )
    with pytest.raises(InvalidInput, match="as few bits as q5_0 already"):
        stored(tmp_path / "form.gguf", tmp_path / "again.gguf", Recipe("q5_0"))


def test_what_cannot_be_made_of_a_gguf_file_is_said(tmp_path: Path) -> None:
    model = write_llama(tmp_path / "m.gguf")
    for method in ("int8-weights", "pruned"):
        with pytest.raises(InvalidInput, match=f"q8_0, q5_1, q5_0, q4_1, q4_0, and not {method}"):
            stored(model, tmp_path / "form.gguf", Recipe(method))
    part = write_llama(tmp_path / "m-00001-of-00002.gguf", told={"split.count": 2})
    with pytest.raises(InvalidInput, match="one part of a model in several files"):
        stored(part, tmp_path / "form.gguf", Recipe("q8_0"))


def searched(model: Path, out: Path, **settings: Any) -> Result:
    opened = Contestant("m", model, model.parent, signature=ASKED).opening
    return compress(model, out, calibration=lambda: iter(ROWS), **{"opened": opened, **settings})


def test_the_search_judges_a_gguf_files_forms_by_the_chances_of_tokens(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    model = write_llama(tmp_path / "m.gguf")
    result = searched(model, tmp_path / "out", methods=("q8_0", "q4_0"), slowest=3, keep={"fidelity": 0.95})
    eight, four = result.trials
    assert 0 < 4 * eight.quality["kl"] < four.quality["kl"] < 0.01
    assert eight.accepted, eight.reason
    best = result.best.path
    assert best is not None
    assert best.name == "m.gguf"
    with open_model(best, root=best.parent, signature=ASKED) as opened:
        said = [read_answer(str(line), row) for row, line in enumerate(opened(ROWS[0])["answer"])]
    assert all(one.error is None for one in said)
    strict = searched(model, tmp_path / "out", methods=("q4_0",), keep={"fidelity": 0.9999999})
    assert strict.best.name == "fp32"
    assert "its fidelity is" in strict.trials[0].reason


def test_every_type_that_can_be_written_is_tried_where_none_is_named(tmp_path: Path) -> None:
    model = write_llama(tmp_path / "m.gguf")
    opened = Contestant("m", model, model.parent, signature=ASKED).opening
    usual = [Recipe("int8-weights"), Recipe("int8-static"), Recipe("mine:own", code="1")]
    found = tried(usual, model, "gguf", opened, default=True, cut=False)
    assert [one.method for one in found] == ["q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "mine:own"]


def test_a_gguf_type_is_none_for_a_model_in_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from small_models import batches, digits, write_cnn

    model = write_cnn(tmp_path / "cnn.onnx")
    result = compress(model, tmp_path / "out", calibration=lambda: batches(digits()[0]), methods=("q8_0",))
    assert result.trials[0].reason == "q8_0 is a type of GGUF files"


def test_a_gguf_file_needs_no_onnx_to_be_made_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp")
    from importlib import metadata

    found = metadata.version

    def without_onnx(name: str) -> str:
        if name.startswith("onnx"):
            raise metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(metadata, "version", without_onnx)
    result = searched(write_llama(tmp_path / "m.gguf"), tmp_path / "out", methods=("q8_0",), slowest=3)
    assert result.trials[0].accepted, result.trials[0].reason
