"""A small BERT with a tokenizer of its own, as ``save_pretrained`` writes them, and texts that it learns to tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

TOPICS = {
    "sport": ["match", "goal", "team", "coach", "league", "striker", "referee", "stadium"],
    "money": ["bank", "loan", "market", "profit", "shares", "budget", "invoice", "credit"],
    "food": ["soup", "bread", "garlic", "oven", "butter", "recipe", "dinner", "spice"],
    "travel": ["train", "hotel", "luggage", "passport", "airport", "beach", "ticket", "island"],
    "health": ["doctor", "fever", "clinic", "vaccine", "nurse", "heart", "sleep", "muscle"],
}
FILLER = [
    "the",
    "a",
    "of",
    "and",
    "we",
    "they",
    "was",
    "is",
    "very",
    "new",
    "old",
    "good",
    "today",
    "again",
    "with",
    "for",
    "near",
    "this",
    "that",
    "some",
]
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def texts(topics: Sequence[str], rows: int, seed: int) -> tuple[list[str], list[str]]:
    """Sentences of 6 to 15 words, two to four of them of a topic and now and then one of another, and the topic of each."""
    draw = np.random.default_rng(seed)
    found, truth = [], []
    for index in range(rows):
        topic = topics[index % len(topics)]
        words = [str(word) for word in draw.choice(FILLER, int(draw.integers(4, 11)))]
        words += [str(word) for word in draw.choice(TOPICS[topic], int(draw.integers(2, 5)))]
        if draw.random() < 0.3:  # a word that leads astray
            words.append(str(draw.choice(TOPICS[str(draw.choice(topics))])))
        found.append(" ".join(draw.permutation(words)))
        truth.append(topic)
    return found, truth


def write_tokenizer(folder: Path, *, most: int | None = 32, **settings: Any) -> Any:
    """Save a tokenizer of words and letters; gives it back as transformers holds it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = [chr(ord("a") + place) for place in range(26)]
    words = [*SPECIAL, *FILLER, *(word for topic in TOPICS.values() for word in topic)]
    words += [*(x for x in letters if x not in words), *(f"##{letter}" for letter in letters)]
    vocabulary = {word: place for place, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"])]
    tokenizer.post_processor = processors.BertProcessing(*ends)
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    limit = {} if most is None else {"model_max_length": most}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=inputs, **names, **limit, **settings
    )
    made.save_pretrained(folder)
    return made


def write_bert(
    folder: Path, topics: Sequence[str] = ("sport", "money"), *, seconds: int = 0, seed: int = 0
) -> Any:
    """Save a classifier of topics with its tokenizer; gives the tokenizer back.

    Args:
        seconds: about so long it is trained on one thread; it knows nothing when that is 0.
        seed: of its weights and the texts that it learns from.
    """
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = write_tokenizer(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        num_labels=len(topics),
        id2label=dict(enumerate(topics)),
        label2id={topic: place for place, topic in enumerate(topics)},
    )
    model = BertForSequenceClassification(config)
    if seconds:
        _train(model, tokenizer, topics, steps=60 * seconds, seed=seed)
    model.save_pretrained(folder)
    return tokenizer


def _train(model: Any, tokenizer: Any, topics: Sequence[str], *, steps: int, seed: int) -> None:
    import torch

    found, truth = texts(topics, 400 * len(topics), seed=100 + seed)
    batch = tokenizer(found, padding=True, return_tensors="pt")
    labels = torch.tensor([list(topics).index(topic) for topic in truth])
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    draw = torch.Generator().manual_seed(seed)
    model.train()
    for _ in range(steps):
        rows = torch.randint(len(labels), (32,), generator=draw)
        loss = model(**{name: values[rows] for name, values in batch.items()}, labels=labels[rows]).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
