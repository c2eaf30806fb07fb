"""Words that YAML reads as something else are told so, in labels and wherever a label is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradatim.contract.reading import read_contract
from gradatim.errors import ContractError

CONTRACT = """\
model: {name: small, path: model.onnx}
data: {evaluation: test.npz}
task:
  type: classification
  labels: [%s, maybe]
stages: {production: {branch: main}}
"""


@pytest.mark.parametrize(
    ("word", "value"), [("no", "false"), ("yes", "true"), ("off", "false"), ("True", "true")]
)
def test_a_label_that_yaml_reads_as_true_or_false_wants_quotes(tmp_path: Path, word: str, value: str) -> None:
    (tmp_path / "gradatim.yml").write_text(CONTRACT % word)
    with pytest.raises(ContractError) as caught:
        read_contract(tmp_path / "gradatim.yml")
    assert "gradatim.yml:5" in str(caught.value)
    assert f"YAML reads `yes`, `no`, `on` and `off` without quotes as {value}" in str(caught.value)
    (tmp_path / "gradatim.yml").write_text(CONTRACT % f'"{word}"')
    assert read_contract(tmp_path / "gradatim.yml").parts.task.labels == (word, "maybe")
