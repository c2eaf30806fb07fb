"""A language model is packaged for the servers that are asked for text, and for no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from package_project import tagged
from small_speaker import write_questions, write_speaker

from gradatim.cli import cli
from gradatim.files import sha256_file
from gradatim.releasing.servers import SERVERS

pytest.importorskip("transformers")
pytestmark = pytest.mark.slow  # a chat model is judged and released first
CONTRACT = """
model: {name: The_capitals, path: model}
data: {evaluation: test.jsonl}
task: {type: generation, scorers: [exact_match], generation: {max_new_tokens: 2}}
test: {abnormal: skip}
benchmark: {rounds: 3}
gates: {exact_match: {at_least: 0%}}
stages: {production: {branch: main}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``v1.0.0`` of a chat model that was never trained."""
    root = tmp_path_factory.mktemp("released")
    write_speaker(root / "model", steps=0)
    write_questions(root / "test.jsonl", 4)
    (root / "gradatim.yml").write_text(CONTRACT)
    return tagged(root)


def package(project: Path, *arguments: str) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        return CliRunner().invoke(cli, ["package", *arguments], standalone_mode=False)


@pytest.mark.parametrize("server", ["vllm", "kserve-llm"])
def test_a_folder_of_hugging_face_goes_whole_to_what_serves_it(
    server: str, project: Path, tmp_path: Path
) -> None:
    done = package(project, "--for", server, "--to", str(tmp_path / "p"), "--storage", "hf://team/capitals")
    assert done.return_value == 0, done.exception
    for path in (project / "model").iterdir():
        assert sha256_file(tmp_path / "p" / "model" / path.name) == sha256_file(path)
    [told] = SERVERS[server].files
    assert yaml.safe_load((tmp_path / "p" / told).read_text())


def test_a_server_that_is_not_asked_for_text_is_refused_with_those_that_are(
    project: Path, tmp_path: Path
) -> None:
    for server, said in {
        "kserve": "These do: vllm, kserve-llm.",
        "docker": "These do: vllm, kserve-llm.",
        "llama-cpp": "llama-cpp serves gguf that is asked for text",
    }.items():
        done = package(project, "--for", server, "--to", str(tmp_path / server))
        assert said in str(done.exception)
        assert not (tmp_path / server).exists()
    assert json.loads(package(project, "--for", "vllm", "--json").output)["server"] == "vllm"
