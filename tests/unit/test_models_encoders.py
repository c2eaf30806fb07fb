"""Well-known encoders are inspected from their headers: the very signature that loading tells, and nothing is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gradatim.errors import InvalidInput
from gradatim.models import inspect_model, open_model

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SMALL = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8,
    "max_position_embeddings": 20, "pad_token_id": 1,
}  # fmt: skip
DISTIL = {"vocab_size": 50, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 8}


def saved(folder: Path, kind: str, **settings: Any) -> Path:
    family = (
        kind.removesuffix("ForSequenceClassification")
        .removesuffix("ForTokenClassification")
        .removesuffix("Model")
    )
    sizes = DISTIL if family == "DistilBert" else SMALL
    config = getattr(transformers, f"{family}Config")(**sizes, **settings)
    getattr(transformers, kind)(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", ["Bert", "Roberta", "XLMRoberta", "DistilBert"])
@pytest.mark.parametrize("head", ["Model", "ForSequenceClassification", "ForTokenClassification"])
def test_headers_tell_the_signature_that_loading_tells(tmp_path: Path, family: str, head: str) -> None:
    settings = {} if head == "Model" else {"num_labels": 5}
    folder = saved(tmp_path / "model", f"{family}{head}", **settings)
    with open_model(folder, root=tmp_path) as predictor:
        assert inspect_model(folder, root=tmp_path).signature == predictor.signature


def test_an_encoder_is_inspected_without_torch_and_transformers(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", "BertForSequenceClassification", num_labels=3)
    code = (
        "import sys\nfrom pathlib import Path\nfrom gradatim.models import inspect_model\n"
        f"found = inspect_model(Path({str(folder)!r}), root=Path({str(tmp_path)!r}))\n"
        "assert found.signature and found.parameters\n"
        "print(sorted({'torch', 'transformers', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_an_encoder_that_lacks_a_weight_is_still_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", "BertForSequenceClassification")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(InvalidInput, match="lacks weights"):
        inspect_model(folder, root=tmp_path)
