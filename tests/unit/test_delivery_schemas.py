"""What is rendered for clusters, servers and dashboards is what their own published schemas take: no key that nobody knows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from gradatim.checks.canary import rules_of
from gradatim.contract.reading import contract_of
from gradatim.gates.rule import Rule
from gradatim.releasing.packaging import _rendered
from gradatim.rendering.kubernetes import Served, render_manifests
from gradatim.rendering.monitoring import Watched, language_model, render_dashboard
from gradatim.signature import Signature, TensorSpec

SCHEMAS = Path(__file__).parent / "schemas"
CONTRACT = """
model: {name: digits, path: model.onnx}
data: {evaluation: test.npz}
task: classification
canary:
  errors: {at_most: 0.5%}
  latency_p95: {at_most: 250 ms}
  latency_p99: {not_slower_than: baseline, by: 10%}
"""
KINDS = ("kserve", "argo-rollouts", "deployment")


@pytest.fixture
def rules(tmp_path: Path) -> tuple[Rule, ...]:
    return rules_of(contract_of(CONTRACT, tmp_path / "gradatim.yml"), None)


def watched() -> Watched:
    return Watched(
        "digits", "http_requests_total", 'code=~"5.."', "http_request_duration_seconds", "version", {}
    )


def manifests(kind: str, rules: tuple[Rule, ...]) -> list[dict[str, Any]]:
    source = "s3://models/digits/v1.1.0" if "kserve" in kind else "ghcr.io/team/digits:v1.1.0"
    beside = ("v1.0.0", "s3://models/digits/v1.0.0")
    served = Served("digits", "production", "v1.1.0", "ab" * 32, source, "onnx", 5, beside)
    return list(yaml.safe_load_all(render_manifests(kind, served, watched(), rules)))


def strictly(schema: Any) -> Any:
    """A cluster drops a key that its schema does not know; here it is an error."""
    if isinstance(schema, list):
        return [strictly(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strictly(value) for key, value in schema.items()}
    if isinstance(made.get("properties"), dict) and "type" in made and "additionalProperties" not in made:
        made["additionalProperties"] = bool(made.get("x-kubernetes-preserve-unknown-fields"))
    if made.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    return made


def test_deployments_and_services_are_what_kubernetes_takes(rules: tuple[Rule, ...]) -> None:
    kubernetes = pytest.importorskip("kubernetes_validate")
    for document in manifests("deployment", rules):
        kubernetes.validate(document, "1.37", strict=True)
    rollout, *others = manifests("argo-rollouts", rules)
    for service in (one for one in others if one["kind"] == "Service"):
        kubernetes.validate(service, "1.37", strict=True)
    pods = {**rollout["spec"]["template"], "apiVersion": "v1", "kind": "Pod"}
    kubernetes.validate({**pods, "metadata": {**pods["metadata"], "name": "digits"}}, "1.37", strict=True)
    pods["spec"] = {**pods["spec"], "conteiners": []}
    with pytest.raises(kubernetes.ValidationError):
        kubernetes.validate(pods, "1.37", strict=True)


def test_a_rollout_and_its_analysis_are_what_argos_published_schema_takes(rules: tuple[Rule, ...]) -> None:
    schemas = {
        kind: strictly(schema)
        for kind, schema in json.loads((SCHEMAS / "argo-rollouts.json").read_text()).items()
    }
    for schema in schemas.values():
        schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own
    found = {one["kind"]: one for one in manifests("argo-rollouts", rules) if one["kind"] in schemas}
    assert set(found) == set(schemas)
    for kind, document in found.items():
        jsonschema.validate(document, schemas[kind])
    found["AnalysisTemplate"]["spec"]["metrics"][0]["sucessCondition"] = "true"
    with pytest.raises(jsonschema.ValidationError, match="sucessCondition"):
        jsonschema.validate(found["AnalysisTemplate"], schemas["AnalysisTemplate"])


def typed(kind: str, value: Any) -> Any:
    """A value as KServe's SDK, or Kubernetes', has it: a key that a type does not know, or that it misses, is an error."""
    import kserve
    import kubernetes.client

    listed = re.fullmatch(r"[Ll]ist\[(.+)\]", kind)
    if listed:
        return [typed(listed[1], one) for one in value]
    made = getattr(kserve, kind, None) or getattr(kubernetes.client, kind, None)
    if made is None:  # a string, a number, a mapping of them
        return value
    attributes = {key: attribute for attribute, key in made.attribute_map.items()}
    assert set(value) <= set(attributes), f"{kind} knows no {set(value) - set(attributes)}"
    given = {attributes[key]: typed(made.openapi_types[attributes[key]], part) for key, part in value.items()}
    return made(**given)


@pytest.mark.parametrize("kind", ["kserve", "kserve-percent"])
def test_an_inference_service_fills_the_types_of_kserves_own_sdk(kind: str, rules: tuple[Rule, ...]) -> None:
    pytest.importorskip("kserve", reason="nox -s delivery")
    [service] = manifests(kind, rules)
    filled = typed("V1beta1InferenceService", service)
    assert filled.spec.predictor.model.model_format.name == "onnx"
    service["spec"]["predictor"]["model"]["storageURI"] = "s3://models"
    with pytest.raises(AssertionError, match="storageURI"):
        typed("V1beta1InferenceService", service)


@pytest.mark.parametrize("language", [False, True])
def test_a_dashboard_is_what_grafanas_schema_takes(language: bool, rules: tuple[Rule, ...]) -> None:
    schema = json.loads((SCHEMAS / "grafana-dashboard.json").read_text())
    about = language_model("helper", "version") if language else watched()
    dashboard = json.loads(render_dashboard(about, rules))
    shared = {key: dashboard.pop(key) for key in ("__inputs", "__requires") if key in dashboard}
    assert [one["type"] for one in shared["__inputs"]] == [
        "datasource"
    ]  # of the export format, around the schema
    jsonschema.validate(dashboard, schema)
    panel = dashboard["panels"][0]
    panel["gridPos"] = {"height": 3}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(dashboard, schema)


def triton_config() -> Any:
    """The message that Triton reads, made of its own descriptor."""
    pool = descriptor_pool.DescriptorPool()
    read = descriptor_pb2.FileDescriptorProto.FromString((SCHEMAS / "triton-model-config.pb").read_bytes())
    pool.Add(read)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))()


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8", "bool", "str"])
def test_a_config_for_triton_is_a_protobuf_text_that_triton_reads(dtype: str) -> None:
    made = Signature(
        inputs=(TensorSpec("image", dtype, (None, 1, 8, 8)), TensorSpec('odd "name"', dtype, (None, None))),
        outputs=(TensorSpec("logits", "float32", (None, 10)),),
    )
    told = {"name": "digits", "version": "v1.1.0", "kind": "onnxruntime", "format": "onnx", "file": "model.onnx",
            "inputs": made.inputs, "outputs": made.outputs, "labels": None, "commit": "c", "manifest": "m"}  # fmt: skip
    config = triton_config()
    text_format.Parse(_rendered("triton/config.pbtxt", told), config)
    assert (config.name, config.backend) == ("digits", "onnxruntime")
    assert [one.name for one in config.input] == ["image", 'odd "name"']
    assert list(config.input[0].dims) == ([1, 8, 8] if config.max_batch_size else [-1, 1, 8, 8])
    kind = (
        config.DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_number[config.input[0].data_type].name
    )
    assert re.fullmatch(r"TYPE_(FP32|FP16|INT64|UINT8|BOOL|STRING)", kind)


def test_servers_of_language_models_are_told_files_and_names() -> None:
    told = {"name": "The_capitals", "version": "v1.1.0", "kind": "gguf", "format": "gguf", "file": "a.gguf", "commit": "c",
            "manifest": "m", "storage": "hf://team/capitals", "adapter": None}  # fmt: skip
    said = yaml.safe_load(_rendered("vllm/config.yaml", told))
    assert (said["model"], said["served-model-name"]) == ("./model", ["The_capitals"])
    lines = _rendered("llama-cpp/server.env", told).splitlines()
    settings = dict(line.split("=") for line in lines if not line.startswith("#"))
    assert (settings["LLAMA_ARG_MODEL"], settings["LLAMA_ARG_ALIAS"]) == ("model/a.gguf", "The_capitals")
    said = yaml.safe_load(_rendered("kserve-llm/llminferenceservice.yaml", told))
    assert (said["apiVersion"], said["kind"]) == ("serving.kserve.io/v1alpha2", "LLMInferenceService")
    assert said["metadata"]["name"] == "the-capitals"
    assert said["spec"]["model"] == {"name": "The_capitals", "uri": "hf://team/capitals"}
    assert set(said["spec"]) <= {"model", "replicas", "router"}


def test_an_adapter_is_served_under_the_releases_name_upon_its_base() -> None:
    told = {"name": "capitals", "version": "v1.1.0", "commit": "c", "manifest": "m", "storage": "s3://models/capitals",
            "adapter": {"base": "base", "folder": "lora", "rank": 20}}  # fmt: skip
    said = yaml.safe_load(_rendered("vllm/config.yaml", told))
    assert (said["model"], said["served-model-name"]) == ("./model/base", ["capitals-base"])
    assert (said["lora-modules"], said["max-lora-rank"]) == (["capitals=./model/lora"], 32)
    model = yaml.safe_load(_rendered("kserve-llm/llminferenceservice.yaml", told))["spec"]["model"]
    assert (model["name"], model["uri"]) == ("capitals-base", "s3://models/capitals/base")
    assert model["lora"]["adapters"] == [{"name": "capitals", "uri": "s3://models/capitals/lora"}]
