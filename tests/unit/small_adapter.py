"""LoRA adapters as PEFT saves them, written without it, and the sum that they stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

EMBEDDINGS = ("embed_tokens", "wte")


def write_adapter(
    folder: Path, base: Path, *targets: str, rank: int = 4, alpha: float = 8, seed: int = 0, **config: Any
) -> Path:
    """Save an adapter of random A and B on every module of a folder that is called so."""
    import torch
    from safetensors.torch import load_file, save_file

    torch.manual_seed(seed)
    tensors = {}
    for name, weight in load_file(base / "model.safetensors").items():
        module = name.removesuffix(".weight")
        if module.rpartition(".")[2] not in targets or weight.ndim != 2:
            continue
        outward, inward = weight.shape[::-1] if config.get("fan_in_fan_out") else weight.shape
        embeds = module.endswith(EMBEDDINGS)
        (outward, inward), ends = (
            (weight.shape[::-1], "embedding_%s") if embeds else ((outward, inward), "%s.weight")
        )
        own = (config.get("rank_pattern") or {}).get(module, rank)
        tensors[f"base_model.model.{module}.lora_{ends % 'A'}"] = torch.randn(own, inward) * 0.3
        tensors[f"base_model.model.{module}.lora_{ends % 'B'}"] = torch.randn(outward, own) * 0.3
    for name in config.get("modules_to_save") or ():
        whole = load_file(base / "model.safetensors")[f"{name}.weight"]
        tensors[f"base_model.model.{name}.weight"] = torch.randn_like(whole)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    said = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": f"/training/{base.name}", "r": rank,
        "lora_alpha": alpha, "target_modules": list(targets), "bias": "none", "inference_mode": True, **config,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(said))
    return folder


def merged(folder: Path, base: Path, adapter: Path) -> Path:
    """The base with W + s B A in the place of W, written as a whole model."""
    import torch
    from safetensors.torch import load_file, save_file

    said, tensors = (
        json.loads((adapter / "adapter_config.json").read_text()),
        load_file(base / "model.safetensors"),
    )
    loras = load_file(adapter / "adapter_model.safetensors")
    for name, weight in loras.items():
        module, _, part = name.removeprefix("base_model.model.").rpartition(".lora_")
        if not module:
            tensors[name.removeprefix("base_model.model.")] = weight
        elif part in ("A.weight", "embedding_A"):
            rank = weight.shape[0]
            scale = said["lora_alpha"] / (rank**0.5 if said.get("use_rslora") else rank)
            change = scale * loras[name.replace("_A", "_B")] @ weight
            turned = said.get("fan_in_fan_out") or module.endswith(EMBEDDINGS)
            tensors[f"{module}.weight"] += change.T if turned else change
    folder.mkdir(parents=True, exist_ok=True)
    for path in base.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())
    return folder
