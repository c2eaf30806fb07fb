"""A Hugging Face folder brings its tokenizer: text feeds it without a preprocessing, and nothing outside the folder is read."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradatim.data import open_data
from gradatim.errors import EnvironmentLacks, InvalidInput
from gradatim.models import Predictor, encoded, open_model, ready

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from small_transformer import texts, write_bert, write_tokenizer  # noqa: E402 (needs torch)

SOME = ["the match was good", "a loan and a bank with very new shares today again"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project") / "bert"
    write_bert(folder)
    return folder


def opened(folder: Path, **tokenizer: Any) -> Predictor:
    predictor = open_model(folder, root=folder.parent)
    return ready(predictor, folder, constants={}, carries={}, tokenizer=tokenizer or None)


def ids(predictor: Predictor, text: Any) -> list[list[int]]:
    found: list[list[int]] = encoded(predictor, {"text": np.asarray(text)})["input_ids"].tolist()
    return found


def test_text_is_answered_as_its_tokens_are(bert: Path) -> None:
    tokens = transformers.AutoTokenizer.from_pretrained(bert)(SOME, padding=True, return_tensors="np")
    with opened(bert) as model:
        by_text = model({"text": np.array(SOME, object)})
        by_tokens = model({name: np.asarray(values) for name, values in tokens.items()})
        assert np.array_equal(by_text["logits"], by_tokens["logits"])
        assert np.array_equal(by_text["logits"], model({"text": np.array(SOME)})["logits"])
        assert model.signature.text is not None


def test_two_columns_are_a_pair_of_texts(bert: Path) -> None:
    first, second = SOME
    tokens = transformers.AutoTokenizer.from_pretrained(bert)(first, second, return_tensors="np")
    with opened(bert) as model:
        made = encoded(model, {"text": np.array([[first, second]], object)})
    assert made["input_ids"].tolist() == tokens["input_ids"].tolist()
    assert made["token_type_ids"].tolist() == tokens["token_type_ids"].tolist()
    assert 1 in made["token_type_ids"]


def test_a_long_text_is_cut_and_a_short_one_filled_up_where_the_contract_says(bert: Path) -> None:
    with opened(bert, max_length=6, truncation="left", padding="left") as model:
        short, long = ids(model, SOME)
    with opened(bert, max_length=6) as model:
        right = ids(model, SOME)
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert)
    assert len(short) == len(long) == 6
    assert tokenizer.convert_ids_to_tokens(long)[-2] == "again"
    assert tokenizer.convert_ids_to_tokens(right[1])[1] == "a"
    with opened(bert, padding="left") as model:
        assert ids(model, SOME)[0][0] == tokenizer.pad_token_id
    with opened(bert, padding="right") as model:
        assert ids(model, SOME)[0][-1] == tokenizer.pad_token_id


def test_without_a_word_of_the_contract_the_folder_s_own_longest_length_counts(bert: Path) -> None:
    with opened(bert) as model:  # its tokenizer says 32, its positions 64
        assert len(ids(model, ["good " * 200])[0]) == 32
        assert model({"text": np.array(["good " * 200])})["logits"].shape == (1, 2)


def test_a_tokenizer_that_names_no_length_cuts_where_the_model_s_positions_end(
    bert: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(bert, tmp_path / "m")
    write_tokenizer(folder, most=None)
    with opened(folder) as model:
        assert len(ids(model, ["good " * 200])[0]) == 64


def test_a_tokenizer_without_a_filling_token_fills_with_its_last_one_and_masks_it(
    bert: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(bert, tmp_path / "m")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["pad_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "eos_token": "[SEP]"}))
    with opened(folder) as model, opened(bert) as usual:
        made = encoded(model, {"text": np.array(SOME)})
        assert made["attention_mask"][0].tolist()[-1] == 0
        left = usual({"text": np.array(SOME)})["logits"]
        np.testing.assert_allclose(model({"text": np.array(SOME)})["logits"], left, atol=1e-5)


# data


def test_a_column_of_text_feeds_the_model_whatever_its_name(bert: Path, tmp_path: Path) -> None:
    for column in ("text", "review"):
        lines = [json.dumps({column: text, "label": place}) for place, text in enumerate(SOME)]
        (tmp_path / "data.jsonl").write_text("\n".join(lines))
        with opened(bert) as model:
            data = open_data("data.jsonl", root=tmp_path, signature=model.signature)
            batch = data.head(2)
            assert list(batch.inputs) == ["text"]
            assert model(batch.inputs)["logits"].shape == (2, 2)


def test_pairs_are_named_and_of_two_nameless_columns_none_is_guessed(bert: Path, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(
        'premise,hypothesis,label\n"a match","a game",0\n"a loan","a bank",1\n'
    )
    with opened(bert) as model:
        signature = model.signature
        with pytest.raises(InvalidInput, match=r"inputs: \{text: \[premise, hypothesis\]\}"):
            open_data("data.csv", root=tmp_path, signature=signature)
        pair = {"text": ("premise", "hypothesis")}
        data = open_data("data.csv", root=tmp_path, signature=signature, inputs=pair)
        assert data.head(2).inputs["text"].shape == (2, 2)
        assert model(data.head(2).inputs)["logits"].shape == (2, 2)
        one = open_data("data.csv", root=tmp_path, signature=signature, inputs={"text": ("premise",)})
        assert one.head(2).inputs["text"].shape == (2,)
        with pytest.raises(InvalidInput, match="one column of text, or two"):
            open_data("data.csv", root=tmp_path, signature=signature, inputs={"text": ("premise",) * 3})


def test_tokens_feed_it_as_before_and_masks_may_be_left_out(bert: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", input_ids=np.array([[2, 9, 3], [2, 8, 3]]), label=[0, 1])
    with opened(bert) as model:
        batch = open_data("data.npz", root=tmp_path, signature=model.signature).head(2)
        assert list(batch.inputs) == ["input_ids"]
        ones = np.ones((2, 3), np.int64)
        whole = {**batch.inputs, "attention_mask": ones, "token_type_ids": 0 * ones}
        np.testing.assert_allclose(model(batch.inputs)["logits"], model(whole)["logits"], atol=1e-6)
        with pytest.raises(InvalidInput, match="`input_ids` is missing"):
            model({"attention_mask": ones})
        with pytest.raises(InvalidInput, match="no input `nonsense`"):
            model({**batch.inputs, "nonsense": ones})


def test_a_preprocessing_may_clean_the_text_and_leave_the_tokens_to_the_model(
    bert: Path, tmp_path: Path
) -> None:
    (tmp_path / "clean_t.py").write_text(
        "def strip(columns):\n    return {'text': [t.strip() for t in columns['raw']]}\n"
    )
    (tmp_path / "data.jsonl").write_text(
        '{"raw": "  a match  ", "label": 0}\n{"raw": "a loan", "label": 1}\n'
    )
    with opened(bert) as model:
        data = open_data("data.jsonl", root=tmp_path, signature=model.signature, preprocess="clean_t:strip")
        assert data.head(2).inputs["text"].tolist() == ["a match", "a loan"]


def test_empty_texts_and_texts_of_another_shape_are_refused_in_words(bert: Path, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"text": "a match", "label": 0}\n{"text": "", "label": 1}\n')
    with opened(bert) as model:
        data = open_data("data.jsonl", root=tmp_path, signature=model.signature)
        with pytest.raises(InvalidInput, match=r"Row 2 of .*`text` is empty"):
            next(data.batches(2))
        with pytest.raises(InvalidInput, match="text"):
            model({"text": np.array([["a"], ["b"]], object)})
        with pytest.raises(InvalidInput, match="text"):
            model({"text": np.zeros(2, np.float32)})


# nothing but the folder


def test_code_that_a_tokenizer_brings_is_never_run(bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bert, tmp_path / "m")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"auto_map": {"AutoTokenizer": ["evil.Slow", "evil.Fast"]}, "tokenizer_class": "EvilTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'boom')!r}, 'w')\n")
    with (
        opened(folder) as model,
        contextlib.suppress(InvalidInput),
    ):  # the class that transformers has, or none
        model({"text": np.array(SOME)})
    assert not (tmp_path / "boom").exists()


def test_a_file_outside_the_folder_is_never_read(bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bert, tmp_path / "m")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(folder / "tokenizer.json", elsewhere / "tokenizer.json")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["tokenizer_file"] = str(elsewhere / "tokenizer.json")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with opened(folder) as model, pytest.raises(InvalidInput, match="tokenizer"):
        model({"text": np.array(SOME)})


def test_a_broken_tokenizer_is_told_in_a_paragraph_and_only_when_text_is_fed(
    bert: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(bert, tmp_path / "m")
    (folder / "tokenizer.json").write_text("{")
    with opened(folder) as model:
        assert model({"input_ids": np.array([[2, 9, 3]])})["logits"].shape == (1, 2)
        with pytest.raises(InvalidInput, match="tokenizer"):
            model({"text": np.array(SOME)})


def test_a_folder_without_a_tokenizer_takes_no_text_and_says_what_to_do(bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bert, tmp_path / "m")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    (tmp_path / "data.jsonl").write_text('{"text": "a match", "label": 0}\n')
    with opened(folder) as model:
        assert model.signature.text is None
        with pytest.raises(InvalidInput, match="input_ids"):
            open_data("data.jsonl", root=tmp_path, signature=model.signature)
    with pytest.raises(InvalidInput, match=r"`model.tokenizer` \(max_length 8\).*no tokenizer"):
        opened(folder, max_length=8)


def test_without_the_package_the_line_that_installs_it_is_told(bert: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nimport numpy as np\nfrom gradatim.errors import EnvironmentLacks\n"
        "from gradatim.models import open_model, ready\n"
        f"folder = Path({str(bert)!r})\n"
        "model = ready(open_model(folder, root=folder.parent), folder, constants={}, carries={}, tokenizer=None)\n"
        "import transformers\n"
        "def lacking(*given, **named):\n    raise ImportError(\"No module named 'sentencepiece'\", name='sentencepiece')\n"
        "transformers.AutoTokenizer.from_pretrained = lacking\n"
        "try:\n    model({'text': np.array(['a'])})\n"
        "except EnvironmentLacks as error:\n    print(error)\n    sys.exit(error.exit_code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == EnvironmentLacks.exit_code, done.stderr
    assert "python -m pip install sentencepiece" in done.stdout


def test_other_models_have_no_tokenizer_to_set(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    x = onnx.helper.make_tensor_value_info("x", 1, ["b", 2])
    y = onnx.helper.make_tensor_value_info("y", 1, ["b", 2])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "m.onnx")
    predictor = open_model(tmp_path / "m.onnx", root=tmp_path)
    with pytest.raises(
        InvalidInput, match=r"`model.tokenizer` \(max_length 8\) is for a Hugging Face folder"
    ):
        ready(predictor, tmp_path / "m.onnx", constants={}, carries={}, tokenizer={"max_length": 8})


def test_many_texts_are_told_apart_by_a_model_that_learned_to(tmp_path: Path) -> None:
    write_bert(tmp_path / "m", seconds=1)
    found, truth = texts(("sport", "money"), 200, seed=5)
    with opened(tmp_path / "m") as model:
        answers = model({"text": np.array(found)})["logits"].argmax(axis=1)
    right = np.array(truth) == np.array(["sport", "money"])[answers]
    assert right.mean() > 0.95


def test_texts_become_tokens_in_the_process_of_the_model_and_nowhere_else(bert: Path, tmp_path: Path) -> None:
    """transformers and torch take seconds to import: once is enough."""
    code = f"""
import sys
from pathlib import Path
import numpy as np
from gradatim.models import ready
from gradatim.timing.held import CallLimits, HeldModel

folder = Path({str(bert)!r})
means = dict(root=folder.parent, project=None, files=(), format=None, factory=None, command=[], endpoint={{}}, signature=None)
held = HeldModel(CallLimits(120, 600), path=folder, device="cpu", threads=1, allow_pickle=False, **means)
with ready(held, folder, constants={{}}, carries={{}}, tokenizer={{"max_length": 4}}) as model:
    text = np.array(["team goal match coach league player", "bank"])
    tokens = model.encoded({{"text": text}})
    assert tokens["input_ids"].shape == (2, 4), tokens
    assert np.array_equal(model({{"text": text}})["logits"], model(tokens)["logits"])
print(sorted({{"torch", "transformers"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
