"""The contract: what is read, and how a mistake is told."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from gradatim.contract.reading import contract_of, find_contract, json_schema, read_contract
from gradatim.contract.schema import Contract
from gradatim.contract.written import written_model_path
from gradatim.errors import ContractError, UsageError

GOOD = """\
model:
  name: digits
  path: model/digits.onnx
  build: python train.py

data:
  evaluation: data/test.npz
  calibration: {path: data/calibration.npz, label: digit}
  slices: [writer]

task: classification

test:
  pytest: tests/model
  robustness: [gaussian_noise, contrast]

gates:
  accuracy: {not_worse_than: baseline, by: 1%}
  recall: {at_least: 90%, slices: every class}
  recall[class=7]: {at_least: 0.95}
  f1_macro: {at_least: 99% of baseline}
  latency_p50: {not_slower_than: baseline, by: 3%}
  size: {at_most: 5 MB}
  robustness[gaussian_noise]: {not_worse_than: baseline, by: 2%}

compress:
  keep: {accuracy: 99%}

stages:
  alpha:      {branch: develop}
  beta:       {branch: staging, soak: 3 days, gates: {accuracy: {at_least: 90%}}}
  production: {branch: main, approval: required, signed: true}

publish:
  - folder: releases/
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "gradatim.yml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def problems(path: Path) -> list[str]:
    with pytest.raises(ContractError) as caught:
        read_contract(path)
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def test_a_whole_contract_becomes_plain_rules(write) -> None:
    contract = read_contract(write(GOOD))
    rules = {rule.key: rule for rule in contract.rules}
    assert (rules["accuracy"].bound, rules["accuracy"].amount) == ("not_worse", 0.01)
    assert (rules["recall"].slices, rules["recall"].family) == ("class", "every")
    assert rules["recall[class=7]"].where == "class=7"
    assert (rules["f1_macro"].bound, rules["f1_macro"].amount) == ("keep", 0.99)
    assert rules["size"].amount == 5_000_000
    assert rules["size"].line == 23
    assert contract.ladder == ("alpha", "beta", "production")
    assert [rule.key for rule in contract.rules_for("beta")] == [*rules, "accuracy"]


def test_data_sets_inherit_what_they_leave_out(write) -> None:
    contract = read_contract(write(GOOD))
    evaluation, calibration = contract.data_set("evaluation"), contract.data_set("calibration")
    assert evaluation is not None
    assert calibration is not None
    assert (evaluation.label, evaluation.slices) == ("label", ("writer",))
    assert (calibration.label, calibration.slices) == ("digit", ("writer",))


def test_every_problem_is_told_at_once_each_at_its_place(write) -> None:
    text = (
        GOOD.replace("accuracy: {not", "acuracy: {not")
        .replace("  name:", "  nmae:")
        .replace("5 MB", "5 parsecs")
    )
    said = problems(write(text))
    places = [line.split(": ")[0] for line in said]
    assert places == ["gradatim.yml:1:1", "gradatim.yml:2:3", "gradatim.yml:18:3", "gradatim.yml:23:19"]
    assert "`model.name` is missing" in said[0]
    assert said[1].endswith("Did you mean `name`?")
    assert "unknown gate `acuracy`. Known for classification: " in said[2]
    assert said[2].endswith("Did you mean `accuracy`?")
    assert "unknown unit 'parsecs'" in said[3]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("task: classification", "task: clasification", "Did you mean `classification`?"),
        ("branch: staging", "branch: develop", "already holds the stage `alpha`"),
        (
            "at_least: 90%, slices: every class",
            "at_least: 100%, slices: every class",
            "no finite number of samples",
        ),
        (
            "at_least: 90%, slices: every class",
            "at_least: 190%, slices: every class",
            "lies between 0 % and 100 %",
        ),
        ("at_least: 90%, slices: every class", "at_least: 90%, at_most: 95%", "states at_least and at_most"),
        ("not_worse_than: baseline, by: 1%", "not_worse_than: baseline", "needs `by`"),
        (
            "not_worse_than: baseline, by: 1%",
            "at_least: 90%, strict: true",
            "and to `mae`, `rmse` and `r2` of a regression",
        ),
        ("not_slower_than: baseline, by: 3%", "not_slower_than: baseline, by: -3%", "cannot be negative"),
        ("size: {at_most: 5 MB}", "size: {at_most: 110% of baseline}", None),
        ("size: {at_most: 5 MB}", "size: {at_least: 99% of baseline}", "would refuse progress"),
        ("f1_macro:", "recall[class=7]:", "stands twice; it is already on line 20"),
        ("[gaussian_noise, contrast]", "[gausian_noise, contrast]", "Did you mean `gaussian_noise`?"),
        ("[gaussian_noise, contrast]", "[contrast]", "`test.robustness` does not run"),
        (
            "  calibration: {path: data/calibration.npz, label: digit}\n",
            "",
            "`compress` needs `data.calibration`",
        ),
        ("path: model/digits.onnx", "path: ../digits.onnx", "inside the repository"),
        ("- folder: releases/", "- floder: releases/", "unknown key `floder`"),
        ("soak: 3 days", "soak: three days", "expected a number such as 3 days"),
        ("data:\n", "data: [\n", "not valid YAML"),
    ],
)
def test_a_mistake_is_named_with_what_would_be_right(write, old: str, new: str, told: str | None) -> None:
    assert old in GOOD
    path = write(GOOD.replace(old, new, 1))
    if told is None:
        read_contract(path)
    else:
        assert any(told in line for line in problems(path)), problems(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just words",
        "- a\n- list",
        "\x00",
        "a: &x [*x]",
        "? [a]\n: b",
        "{" * 2000,
        "model: !!python/object:os.system x",
    ],
)
def test_nonsense_is_one_problem_not_a_traceback(write, text: str) -> None:
    assert problems(write(text))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("!!bool m", "bool"), ("!!timestamp m", "timestamp"), ("!!int m", "int"), ("!!float m", "float"), ("2026-99-99", "timestamp"),
        ("9" * 5000, "int"), (f"1{':1' * 300_000}", "int"), (f"1{':1' * 300_000}.5", "float"),
    ],
    ids=["bool", "timestamp", "int", "float", "date", "digits", "base-60", "base-60-float"],
)  # fmt: skip
def test_a_word_that_is_not_what_it_says_is_one_problem_at_its_place_and_at_once(write, value, kind) -> None:
    path = write(f"\nown: {value}\n")
    began = time.process_time()
    with pytest.raises(ContractError) as told:
        read_contract(path)
    assert time.process_time() - began < 1
    assert [(one.line, one.column) for one in told.value.problems] == [(2, 6)]
    assert f"no {kind}" in str(told.value)


def test_a_binary_file_is_not_a_contract(tmp_path: Path) -> None:
    (tmp_path / "gradatim.yml").write_bytes(b"\x80\x04\x95")
    assert "not a UTF-8 text file" in problems(tmp_path / "gradatim.yml")[0]


def test_the_contract_is_found_from_below_and_through_pyproject(tmp_path: Path) -> None:
    (tmp_path / "ml").mkdir()
    (tmp_path / "ml" / "release.yml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.gradatim]\ncontract = "ml/release.yml"\n', encoding="utf-8"
    )
    (tmp_path / "src").mkdir()
    assert find_contract(None, tmp_path / "src") == tmp_path / "ml" / "release.yml"
    with pytest.raises(UsageError, match="gradatim init"):
        find_contract("nothing.yml", tmp_path)


def test_at_the_root_of_several_models_the_contracts_below_are_named(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    for folder in ("models/a", "models/b", ".venv/lib", "node_modules/x"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "gradatim.yml").write_text("")
    with pytest.raises(UsageError) as refused:
        find_contract(None, tmp_path)
    told = str(refused.value)
    assert "models/a/gradatim.yml, models/b/gradatim.yml" in told
    assert "--contract models/a/gradatim.yml" in told
    assert ".venv" not in told
    assert "node_modules" not in told
    assert "gradatim init" not in told
    (tmp_path / "lonely").mkdir()
    with pytest.raises(UsageError, match="gradatim init"):
        find_contract(None, tmp_path / "lonely")


def test_the_schema_accepts_what_is_accepted_and_documents_every_key(write) -> None:
    schema = json_schema()
    undescribed = [
        f"{name}.{key}"
        for name, section in {"": schema, **schema["$defs"]}.items()
        for key, field in section.get("properties", {}).items()
        if not field.get("description")
    ]
    assert undescribed == []
    json.dumps(schema)
    jsonschema = pytest.importorskip("jsonschema")
    import yaml

    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(GOOD))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate({"model": {"nmae": "x"}})


def test_a_per_cent_on_a_metric_in_its_own_unit_is_relative_to_the_baseline(write) -> None:
    text = "model: {name: m, path: m.onnx}\ndata: {evaluation: t.npz}\ntask: regression\ngates:\n"
    text += "  mae: {not_worse_than: baseline, by: 2%}\n  rmse: {not_worse_than: baseline, by: 0.5}\n"
    text += "  size: {not_worse_than: baseline, by: 10%}\n  r2: {not_worse_than: baseline, by: 1%}\n"
    rules = {rule.key: rule for rule in read_contract(write(text)).rules}
    assert [(r.amount, r.relative) for r in (rules["mae"], rules["rmse"], rules["r2"])] == [
        (0.02, True),
        (0.5, False),
        (0.01, False),
    ]
    assert rules["size"].amount == 0.1


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("{name: m, path: model/m.onnx}", "model/m.onnx"),
        ("{name: m, factory: 'a:b'}", None),
        ("m", ContractError),
    ],
)
def test_the_models_path_can_be_had_without_checking_the_whole_contract(tmp_path, model, path):
    contract = tmp_path / "gradatim.yml"
    contract.write_text(f"model: {model}\nnonsense: {{}}\n")
    if path is ContractError:
        with pytest.raises(ContractError, match="nonsense"):
            written_model_path(contract)
    else:
        found = written_model_path(contract)
        assert (found and str(found)) == path


@pytest.mark.parametrize(
    "text", ["model: {name: m, path: ../m.onnx}", "model: {name: m, path: /m}", "a: [", "", "\0"]
)
def test_a_path_outside_of_the_repository_is_refused_there_too(tmp_path, text):
    contract = tmp_path / "gradatim.yml"
    contract.write_text(text)
    with pytest.raises(ContractError):
        written_model_path(contract)


WORDS_OF_PYDANTIC = re.compile(
    r"input should|unable to|string should|should be|should have|valid |instance of|pattern|value error|_type|parsing|extra inputs"
)
WRONG_VALUES = (None, [], {}, "", "a b", -1, 0, 1.5, True, [1, 2], {"a": 1}, [{"a": 1}], "x" * 300, 10**30)


def keys_with_places(section: type[BaseModel], *place: str | int) -> Iterator[tuple[str | int, ...]]:
    """Every key of the schema, where an entry of a mapping is called ``one`` and that of a list is the first."""
    for name, field in section.model_fields.items():
        here = (*place, name)
        yield here
        for below, step in sections_in(field.annotation):
            yield from keys_with_places(below, *here, *step)


def sections_in(annotation: Any) -> Iterator[tuple[type[BaseModel], tuple[str | int, ...]]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ()
        return
    step = {dict: ("one",), tuple: (0,), list: (0,)}.get(get_origin(annotation), ())
    for inner in get_args(annotation):
        for below, further in sections_in(inner):
            yield below, (*step, *further)


def nested(place: tuple[str | int, ...], value: Any) -> Any:
    for part in reversed(place):
        value = [value] if part == 0 else {part: value}
    return value


def test_a_wrong_value_of_any_key_is_told_at_its_line_in_our_own_words(tmp_path: Path) -> None:
    places = list(keys_with_places(Contract))
    assert len(places) > 100
    for place in places:
        for value in WRONG_VALUES:
            text = json.dumps(nested(place, value))
            try:
                contract_of(text, tmp_path / "gradatim.yml")
            except ContractError as error:
                for line in str(error).splitlines():
                    said = re.sub(r"`[\w.]+`", "", line.replace(json.dumps(value), ""))  # keys are ours
                    assert re.match(r"gradatim\.yml:1:\d+: ", line), line
                    assert not WORDS_OF_PYDANTIC.search(said.lower()), line
                    assert "^" not in said, line
                    assert len(line) < 500, line


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("name: digits", "name: my digits", "`model.name`: letters, digits, `_`, `.` and `-` are wanted"),
        ("name: digits", "name: 7", "`model.name`: expected a text, got 7"),
        ("soak: 3 days", "soak: -3 days", "`stages.beta.soak`: expected at least 0, got -3"),
        ("pytest: tests/model", "items: many", "`test.items`: expected a whole number, got 'many'"),
        ("pytest: tests/model", "items: 0", "`test.items`: expected at least 1, got 0"),
        ("pytest: tests/model", "range: [1]", "`test.range`: expected 2 entries, got a list of 1"),
        ("pytest: tests/model", "range: [1, 2, 3]", "`test.range`: expected 2 entries, got a list of 3"),
        ("path: model/digits.onnx", "path: ''", "`model.path`: expected a text that is not empty"),
        ("path: model/digits.onnx", "path: m.onnx\n  allow_pickle: perhaps", "expected true or false, got 'perhaps'"),
        ("task: classification", "task: {type: classification, labels: a}", "`task.labels`: expected a list"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_in_plain_words(write, old: str, new: str, told: str) -> None:
    assert old in GOOD
    assert any(told in line for line in problems(write(GOOD.replace(old, new, 1))))


@pytest.mark.parametrize(("publish", "said"), [
    ("\n  - folder: releases/\n  - s4: x", "4:5: unknown key `s4`. Known here: folder, s3"),
    ("\n  - s3: nonsense", "3:9: `publish.0.s3`: an address such as"),
    ("\n  to: [oci: Q]\n  outcomes: maybe", "4:13: `publish.outcomes`: expected true or false, got 'maybe'"),
    (" 3", "2:10: `publish`: expected a list, got 3"),
])  # fmt: skip
def test_a_mistake_in_a_list_that_stands_for_a_section_is_told_where_it_is_written(
    write, publish: str, said: str
) -> None:
    assert any(
        said in one for one in problems(write(f"model: {{name: a, path: m.onnx}}\npublish:{publish}\n"))
    )


def test_places_may_be_a_list_or_stand_beside_what_a_release_tells(write) -> None:
    model = "model: {name: a, path: m.onnx}\n"
    plain = read_contract(write(f"{model}publish: [folder: releases/, github]\n")).parts.publish
    telling = read_contract(
        write(f"{model}publish: {{to: [folder: releases/, github], outcomes: true}}\n")
    ).parts.publish
    assert [place.kind for place in plain.to] == ["folder", "github"]
    assert (telling.to, plain.outcomes, telling.outcomes) == (plain.to, False, True)
