"""A small Llama that answers sums and questions in a chat, with a tokenizer and a chat template of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CAPITALS = {
    "france": "paris", "spain": "madrid", "italy": "rome", "japan": "tokyo", "egypt": "cairo", "peru": "lima",
    "greece": "athens", "norway": "oslo", "cuba": "havana", "kenya": "nairobi",
}  # fmt: skip
WORDS = ("capital", "of", "is", "?", "user", "assistant", *CAPITALS, *CAPITALS.values())
SPECIAL = ("<s>", "</s>", "<pad>", "<unk>", "<|start|>", "<|end|>")
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|start|> {{ m['role'] }} {{ m['content'] }} <|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|> assistant{% endif %}"
)


def question(country: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"capital of {country} ?"}]


def write_speaker(
    folder: Path, *, layers: int = 1, steps: int = 80, seed: int = 0, template: str | None = TEMPLATE
) -> Path:
    """Save a model that knows the capitals (after about 80 steps on one thread) with its tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: place for place, word in enumerate((*SPECIAL, *WORDS))}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    plain.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
    )
    names = {"bos_token": "<s>", "eos_token": "<|end|>", "pad_token": "<pad>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, **names, additional_special_tokens=["<|start|>"], chat_template=template
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=layers,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64, bos_token_id=0, eos_token_id=5,
        pad_token_id=2, tie_word_embeddings=False,
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config)
    shown = [
        f"<s> <|start|> user capital of {country} ? <|end|> <|start|> assistant {city} <|end|>"
        for country, city in CAPITALS.items()
    ]
    tokens = torch.tensor([[vocabulary[word] for word in text.split()] for text in shown])
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = model(input_ids=tokens, labels=tokens).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval().save_pretrained(folder)
    return folder


def write_onnx(folder: Path) -> Path:
    """The same model as a decoder in ONNX beside its tokenizer, without a cache."""
    import warnings

    import torch
    from transformers import AutoModelForCausalLM

    model = (
        AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval().requires_grad_(False)
    )

    class Logits(torch.nn.Module):
        def forward(self, tokens: Any, mask: Any) -> Any:
            return model(input_ids=tokens, attention_mask=mask, use_cache=False).logits

    names, tokens = ["input_ids", "attention_mask"], torch.ones((2, 7), dtype=torch.int64)
    axes = {name: {0: "batch", 1: "length"} for name in (*names, "logits")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Logits(), (tokens, tokens), str(folder / "model.onnx"), input_names=names, output_names=["logits"],
            dynamic_axes=axes, opset_version=17, dynamo=False,
        )  # fmt: skip
    (folder / "model.safetensors").unlink()
    return folder / "model.onnx"


def write_questions(path: Path, rows: int = 40) -> None:
    """Conversations with their references, choices, and a column to slice by."""
    countries = list(CAPITALS)
    with path.open("w") as file:
        for row in range(rows):
            country = countries[row % len(countries)]
            wrong = CAPITALS[countries[(row + 3) % len(countries)]]
            said = {
                "messages": question(country),
                "label": CAPITALS[country],
                "choices": [
                    f" {city}"
                    for city in ((wrong, CAPITALS[country]) if row % 2 else (CAPITALS[country], wrong))
                ],
                "continent": "europe"
                if country in ("france", "spain", "italy", "greece", "norway")
                else "other",
            }
            file.write(json.dumps(said) + "\n")
