"""Small networks that read a sentence with one part and write it in another language with the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WORDS = {
    "the": "das", "house": "haus", "garden": "feld", "is": "ist", "old": "alt", "new": "neu", "here": "hier", "small": "klein",
    "river": "tal", "green": "lind",
}  # fmt: skip
_SPECIAL = ("<pad>", "</s>", "<unk>")


def pairs(count: int, seed: int = 0, most: int = 6) -> list[tuple[str, str]]:
    import random

    draw = random.Random(seed)
    said = [draw.choices(list(WORDS), k=draw.randint(2, most)) for _ in range(count)]
    return [(" ".join(words), " ".join(WORDS[word] for word in words)) for words in said]


def write_sentences(path: Path, count: int = 60, documents: int = 0) -> None:
    """Sentences that the model has learnt, with their translations; those of a document stand together where there are any."""
    rows: list[dict[str, Any]] = [
        {"source": source, "target": target} for source, target in pairs(count, seed=1)
    ]
    for place, row in enumerate(rows if documents else ()):
        row["document"] = f"d{place % documents}"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_translator(folder: Path, kind: str = "marian", *, steps: int = 150, seed: int = 0) -> Path:
    """Save a T5 or a Marian of a layer, after so many steps of learning, with its tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        MarianConfig,
        MarianMTModel,
        PreTrainedTokenizerFast,
        T5Config,
        T5ForConditionalGeneration,
    )

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: place for place, word in enumerate((*_SPECIAL, *WORDS, *WORDS.values()))}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    plain.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, **names)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    size = {
        "vocab_size": len(vocabulary),
        "d_model": 32,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    }
    model: Any
    if kind == "t5":
        model = T5ForConditionalGeneration(
            T5Config(
                d_kv=16, d_ff=64, num_layers=1, num_decoder_layers=1, num_heads=2, dropout_rate=0.0, **size
            )
        )
    else:
        heads = {
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
        }
        model = MarianMTModel(
            MarianConfig(
                encoder_layers=1, decoder_layers=1, max_position_embeddings=32, dropout=0.0, **heads, **size
            )
        )
    known = pairs(64, seed=1)
    read = tokenizer(
        [one for one, _ in known], padding=True, return_tensors="pt", return_token_type_ids=False
    )
    labels = tokenizer([other for _, other in known], padding=True, return_tensors="pt")["input_ids"]
    labels[labels == 0] = -100
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = model(**read, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval().save_pretrained(folder)
    return folder
