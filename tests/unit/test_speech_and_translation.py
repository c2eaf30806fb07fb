"""Speech recognition and translation: tasks with the machinery of generated text, and scores of their own field."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from registry_examples import commit_file, git, new_repository
from small_listener import RATE, said, sentences, write_recordings, write_wav2vec, write_whisper
from small_speaker import write_speaker
from small_translator import pairs, write_sentences, write_translator

from gradatim.candidate.candidate import Candidate
from gradatim.ci.laptop import Laptop
from gradatim.contract.reading import read_contract
from gradatim.data import open_data
from gradatim.errors import ContractError, InvalidInput
from gradatim.evidence.found import Evaluated
from gradatim.gates.verdict import Verdict
from gradatim.metrics.answers import REQUEST
from gradatim.metrics.columns import Column
from gradatim.metrics.generation import GenerationScorer
from gradatim.metrics.predictions import Predictions
from gradatim.metrics.scored import SCORE, score_batch
from gradatim.metrics.scorers.table import SCORERS, Scoring
from gradatim.metrics.task import Task
from gradatim.models import open_model
from gradatim.pipeline.step import run_step
from gradatim.signature import Signature, TensorSpec
from gradatim.steps import evaluate

pytest.importorskip("transformers")
pytest.importorskip("jiwer")

ASKED = Signature((TensorSpec(REQUEST, "str", ("batch",)),), ())
SETTINGS = {"max_new_tokens": 8, "temperature": 0.0, "seed": 0, "samples": 1, "wants": ["text"]}
SPEECH = """
model: {name: words, path: model}
data: {evaluation: recordings, label: text, slices: [speaker]}
task: {type: speech_recognition, generation: {max_new_tokens: 8}}
test: {abnormal: skip}
benchmark: {rounds: 3}
evaluate: {show: 2}
gates:
  wer: {at_most: 70%}
  cer: {not_worse_than: baseline, by: 10%}
stages: {production: {branch: main}}
"""
TRANSLATION = """
model: {name: german, path: model}
data: {evaluation: test.jsonl, label: target, inputs: {prompt: source}, group: document}
task: {type: translation, generation: {max_new_tokens: 12}}
test: {abnormal: skip}
benchmark: {rounds: 3}
gates:
  bleu: {not_worse_than: baseline, by: 5%}
  chrf: {at_least: 20%}
stages: {production: {branch: main}}
"""
STEPS = ("build", "inspect", "compress", "test", "evaluate", "benchmark", "gate")


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whisper(tmp_path_factory.mktemp("whisper") / "model")


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_translator(tmp_path_factory.mktemp("marian") / "model")


def project(
    root: Path, contract: str, model: Path, data: Callable[[Path], None] = lambda root: None
) -> Candidate:
    new_repository(root)
    data(root)
    shutil.copytree(model, root / "model")
    (root / "gradatim.yml").write_text(contract)
    git(root, "add", ".")
    commit_file(root, ".gitignore", b".gradatim/\n__pycache__/\n")
    return opened(root)


def recordings(count: int, seed: int = 0, table: str = "jsonl") -> Callable[[Path], None]:
    return lambda root: write_recordings(root / "recordings", sentences(count, seed), table=table)


def opened(root: Path) -> Candidate:
    return Candidate(read_contract(root / "gradatim.yml"), Laptop(), "production")


def spoil(folder: Path, name: str) -> None:
    """A network that lost one of its matrices."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights[name] = weights[name] * 0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def judged(candidate: Candidate, *steps: str) -> dict[str, Verdict]:
    found = [run_step(step, candidate).statement for step in steps]
    return {gate.gate: gate.verdict for gate in found[-1].gates}


def passed(found: dict[str, Verdict]) -> set[str]:
    """The gates, of which none says anything else."""
    assert set(found.values()) == {Verdict.PASS}
    return set(found)


def recording(sound: np.ndarray[Any, Any], rate: int = RATE) -> dict[str, Any]:
    return {"samples": base64.b64encode(sound.astype("<f4").tobytes()).decode(), "sampling_rate": rate}


def answers(folder: Path, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    lines = np.array([json.dumps({**SETTINGS, **request}) for request in requests], object)
    with open_model(folder, root=folder.parent, signature=ASKED) as model:
        return [json.loads(line) for line in model({REQUEST: lines})["answer"]]


@pytest.mark.slow
def test_a_network_that_hears_is_released_by_its_wrong_words_and_a_deaf_one_is_not(
    whisper: Path, tmp_path: Path
) -> None:
    candidate = project(tmp_path / "repo", SPEECH, whisper, recordings(60, 2))
    assert {"wer", "cer"} <= passed(judged(candidate, *STEPS))
    run_step("tag", candidate)
    spoil(tmp_path / "repo/model", "model.decoder.layers.0.encoder_attn.v_proj.weight")
    git(tmp_path / "repo", "commit", "-qam", "deaf")
    deaf = opened(tmp_path / "repo")
    found = judged(deaf, *STEPS)
    assert found["cer"] is Verdict.FAIL
    assert found["wer"] is not Verdict.PASS
    shown = evaluate.run(deaf).found
    assert isinstance(shown, Evaluated)
    assert {one.prompt for one in shown.flipped} <= {f"[a recording of {n * 0.3:.1f} s]" for n in (1, 2, 3)}
    assert len(shown.flipped) == 2


def test_the_files_of_recordings_are_part_of_what_the_evidence_rests_on(
    whisper: Path, tmp_path: Path
) -> None:
    root = tmp_path / "repo"
    before = evaluate.depends_on(project(root, SPEECH, whisper, recordings(4)))
    (root / "recordings/clips/000.wav").write_bytes((root / "recordings/clips/001.wav").read_bytes())
    assert evaluate.depends_on(opened(root)) != before


def test_what_wer_counts_is_the_words_of_all_recordings_together(whisper: Path, tmp_path: Path) -> None:
    import jiwer

    texts = sentences(10, seed=4)
    candidate = project(tmp_path / "repo", SPEECH, whisper, recordings(10, 4, "csv"))
    wanted = [" ".join(words) for words in texts]
    sounds = [
        (said(words, place) * 32767).astype(np.int16) / np.float32(32768) for place, words in enumerate(texts)
    ]
    said_of = answers(whisper, *({"audio": recording(sound)} for sound in sounds))
    heard = ["" if one.get("cut", [False])[0] else one["texts"][0] for one in said_of]  # cut off: it failed
    found = {
        one.label: one.value for one in evaluate.run(candidate).measurements if one.variant == "original"
    }
    assert found["wer"] == pytest.approx(jiwer.wer(wanted, heard))
    assert found["cer"] == pytest.approx(jiwer.cer(wanted, heard))


def test_a_network_of_a_tag_a_frame_writes_what_transformers_would(tmp_path: Path) -> None:
    import torch
    from transformers import AutoFeatureExtractor, AutoTokenizer, Wav2Vec2ForCTC

    folder = write_wav2vec(tmp_path / "model")
    sound = said(["red", "blue"])
    (found,) = answers(folder, {"audio": recording(sound)})
    extractor, tokenizer = AutoFeatureExtractor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        given = extractor(sound, sampling_rate=RATE, return_tensors="pt")
        frames = Wav2Vec2ForCTC.from_pretrained(folder)(**given).logits.argmax(-1)
    assert found["texts"] == [text.strip() for text in tokenizer.batch_decode(frames)]


def test_sound_that_the_network_cannot_take_is_no_row_that_passed(whisper: Path) -> None:
    long, whole = answers(
        whisper, {"audio": recording(np.zeros(RATE * 3))}, {"audio": recording(said(["red"]))}
    )
    assert "3.0 s of sound, and the model hears 1" in long["error"]
    assert whole["texts"]
    with pytest.raises(InvalidInput, match="8000 samples a second, and model takes 16000"):
        answers(whisper, {"audio": recording(said(["red"]), 8000)})
    with pytest.raises(InvalidInput, match="hears recordings and reads no prompts"):
        answers(whisper, {"prompt": "red"})


def test_a_model_that_is_asked_in_writing_refuses_recordings(tmp_path: Path) -> None:
    folder = write_speaker(tmp_path / "model", steps=0)
    with pytest.raises(InvalidInput, match="asked in writing"):
        answers(folder, {"audio": recording(said(["red"]))})


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ({"text": "red"}, "no column `file_name`"),
        ({"file_name": "../secret.wav", "text": "red"}, "no file below"),
        ({"file_name": "clips/nothing.wav", "text": "red"}, "no such file"),
        ({"file_name": "clips/000.txt", "text": "red"}, "neither an image, a .wav nor a .npy"),
    ],
)
def test_a_table_that_names_no_recording_is_refused(row: dict[str, str], match: str, tmp_path: Path) -> None:
    write_recordings(tmp_path / "recordings", sentences(2))
    (tmp_path / "recordings/clips/000.txt").write_text("red")
    (tmp_path / "secret.wav").write_bytes((tmp_path / "recordings/clips/000.wav").read_bytes())
    (tmp_path / "recordings/metadata.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(InvalidInput, match=match):
        list(open_data("recordings", root=tmp_path, label="text").batches(2))


def test_recordings_that_are_only_named_are_refused_with_where_files_lie(
    whisper: Path, tmp_path: Path
) -> None:
    root = tmp_path / "repo"
    candidate = project(
        root, SPEECH.replace("recordings", "test.jsonl").replace(", slices: [speaker]", ""), whisper
    )
    (root / "test.jsonl").write_text('{"audio": "clips/000.wav", "text": "red"}\n')
    with pytest.raises(InvalidInput, match="no column `sampling_rate`"):
        candidate.rows.dataset("evaluation", ASKED)
    (root / "test.jsonl").write_text('{"audio": "clips/000.wav", "sampling_rate": 16000, "text": "red"}\n')
    with pytest.raises(InvalidInput, match=r"metadata\.jsonl"):
        candidate.rows.dataset("evaluation", ASKED).head(1)
    (root / "test.jsonl").write_text('{"file_name": "clips/000.wav", "text": "red"}\n')
    with pytest.raises(InvalidInput, match="name the folder that it lies in"):
        candidate.rows.dataset("evaluation", ASKED)


def test_pictures_with_a_table_are_data_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for place in range(3):
        np.save(tmp_path / f"pictures/{place}.npy", np.full((2, 2), place, np.float32))
    (tmp_path / "pictures/metadata.csv").write_text("file_name,price\n0.npy,1.5\n1.npy,2.5\n2.npy,3.5\n")
    whole = open_data("pictures", root=tmp_path, label="price")
    assert whole.columns == ("array", "file_name", "price")
    rows = [
        (batch.inputs["array"][0, 0, 0], str(batch.labels[0]))
        for batch in whole.batches(1)
        if batch.labels is not None
    ]
    assert rows == [(0.0, "1.5"), (1.0, "2.5"), (2.0, "3.5")]


@pytest.mark.slow
def test_a_translator_is_released_by_bleu_and_chrf_and_a_worse_one_is_not(
    marian: Path, tmp_path: Path
) -> None:
    candidate = project(
        tmp_path / "repo",
        TRANSLATION,
        marian,
        lambda root: write_sentences(root / "test.jsonl", 60, documents=20),
    )
    assert {"bleu", "chrf"} <= passed(judged(candidate, *STEPS))
    run_step("tag", candidate)
    spoil(tmp_path / "repo/model", "model.decoder.layers.0.encoder_attn.v_proj.weight")
    git(tmp_path / "repo", "commit", "-qam", "worse")
    assert judged(opened(tmp_path / "repo"), *STEPS)["bleu"] is Verdict.FAIL


@pytest.mark.parametrize("kind", ["t5", "marian"])
def test_a_network_that_reads_and_writes_says_the_same_alone_and_in_a_batch(
    kind: str, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder = write_translator(tmp_path / "model", kind, steps=0)
    wants = {"wants": ["text", "target"]}
    requests = [{"prompt": one, "target": other, **wants} for one, other in pairs(5, seed=9)]
    together = answers(folder, *requests)
    for request, found in zip(requests, together, strict=True):
        (alone,) = answers(folder, request)
        assert alone["texts"] == found["texts"]
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder)
    read = tokenizer(requests[0]["prompt"], return_tensors="pt", return_token_type_ids=False)
    labels = tokenizer(requests[0]["target"], add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        loss = model.eval()(**read, labels=labels).loss
        text = tokenizer.decode(model.generate(**read, max_new_tokens=8)[0], skip_special_tokens=True)
    assert together[0]["target"][0] == pytest.approx(-float(loss) * labels.shape[1], rel=1e-4)
    assert together[0]["texts"] == [text]


@pytest.mark.parametrize(
    ("task", "gate", "known"),
    [
        ("translation", "wer", "bleu, chrf"),
        ("speech_recognition", "bleu", "wer, cer"),
        ("{type: translation, scorers: [rougeL]}", "bleu", "rougeL"),
    ],
)
def test_a_task_is_scored_as_its_field_does_unless_the_contract_says_otherwise(
    task: str, gate: str, known: str, tmp_path: Path
) -> None:
    contract = f"model: {{name: a, path: m}}\ndata: {{evaluation: t.jsonl}}\ntask: {task}\ngates:\n  {gate}: {{at_least: 1%}}\n"
    (tmp_path / "gradatim.yml").write_text(contract)
    with pytest.raises(ContractError, match=rf":5:.*unknown gate `{gate}`.*{known}"):
        read_contract(tmp_path / "gradatim.yml")


def rightness(scorer: str, *rows: tuple[str, str]) -> list[bool]:
    """Whether each answer is right by a task's first scorer, beside its reference."""
    task = Task("generation", scorers=(Scoring(scorer, SCORERS[scorer]),))
    asked = {REQUEST: np.array(["{}"] * len(rows), object)}
    labels = [json.dumps(reference) for _, reference in rows]
    kept = score_batch(task, {"text": np.array([answer for answer, _ in rows], object)}, asked, labels)
    scores = {SCORE + scorer: Column(kept[SCORE + scorer])}
    return list(GenerationScorer(task, Predictions(scores, items=np.arange(len(rows)))).item_scores() >= 1)


@pytest.mark.parametrize("scorer", ["bleu", "wer", "cer", "chrf", "exact_match"])
def test_a_row_is_right_that_has_nothing_wrong_whatever_scores_it(scorer: str) -> None:
    said = "the cat sat on the mat"
    found = rightness(scorer, (said, said), ("the cat sat on a mat", said), ("nothing of that", said))
    assert found == [True, False, False]
