"""Small networks that hear words, each a tone: one after Whisper, and one that says a letter a frame (CTC)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
WORDS = {"red": 400.0, "green": 900.0, "blue": 1600.0, "white": 2600.0}
_SPECIAL = ("<s>", "</s>", "<pad>", "<unk>")


def said(words: list[str], seed: int = 0, seconds: float = 0.3) -> NDArray[np.float32]:
    """A recording of some words: a tone each, with a little noise."""
    draw = np.random.default_rng(seed)
    at = np.arange(int(RATE * seconds)) / RATE
    tones = [np.sin(2 * np.pi * WORDS[word] * at) * np.hanning(at.size) for word in words]
    sound = np.concatenate(tones) + 0.02 * draw.standard_normal(at.size * len(words))
    return np.asarray(0.5 * sound, np.float32)


def sentences(count: int, seed: int = 0, most: int = 3) -> list[list[str]]:
    draw = np.random.default_rng(seed)
    return [
        [str(word) for word in draw.choice(list(WORDS), draw.integers(1, most + 1))] for _ in range(count)
    ]


def write_recordings(folder: Path, texts: list[list[str]], *, rate: int = RATE, table: str = "jsonl") -> None:
    """A folder as `datasets` lays out an AudioFolder: files, and a table of them."""
    from scipy.io import wavfile

    (folder / "clips").mkdir(parents=True)
    rows = []
    for place, words in enumerate(texts):
        name = f"clips/{place:03}.wav"
        wavfile.write(folder / name, rate, (said(words, place) * 32767).astype(np.int16))
        rows.append({"file_name": name, "text": " ".join(words), "speaker": f"s{place % 3}"})
    if table == "jsonl":
        lines = [json.dumps(row) for row in rows]
    else:
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (folder / f"metadata.{table}").write_text("\n".join(lines) + "\n")


def _tokenizer(folder: Path) -> dict[str, int]:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: place for place, word in enumerate((*_SPECIAL, *WORDS))}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=plain, **names).save_pretrained(folder)
    return vocabulary


def write_whisper(folder: Path, *, steps: int = 240, seed: int = 0) -> Path:
    """Save a Whisper of a layer that hears a second, after so many steps of learning, with its tokenizer and how it takes sound."""
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _tokenizer(folder)
    extractor: Any = WhisperFeatureExtractor(feature_size=40, chunk_length=1)
    extractor.save_pretrained(folder)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    config = WhisperConfig(
        vocab_size=len(vocabulary), num_mel_bins=40, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, d_model=32, max_source_positions=50,
        max_target_positions=16, pad_token_id=2, bos_token_id=0, eos_token_id=1, decoder_start_token_id=0,
        suppress_tokens=None, begin_suppress_tokens=None, dropout=0.0,
    )  # fmt: skip
    model: Any = WhisperForConditionalGeneration(config)
    texts = sentences(32, seed=1)
    features = extractor(
        [said(words, 500 + place) for place, words in enumerate(texts)],
        sampling_rate=RATE,
        return_tensors="pt",
    )
    labels = torch.full((len(texts), 4), -100)
    for row, words in enumerate(texts):
        labels[row, : len(words) + 1] = torch.tensor([*(vocabulary[word] for word in words), 1])
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        loss = model(input_features=features["input_features"], labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.generation_config.update(
        decoder_start_token_id=0, eos_token_id=1, pad_token_id=2, bos_token_id=0, max_length=16
    )
    model.eval().save_pretrained(folder)
    return folder


def write_wav2vec(folder: Path, *, seed: int = 0) -> Path:
    """Save a Wav2Vec2 with a tag a frame, untaught."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    folder.mkdir(parents=True, exist_ok=True)
    letters = {
        name: place for place, name in enumerate(("<pad>", "<s>", "</s>", "<unk>", "|", *"abcdeghilnrtuw"))
    }
    (folder / "vocab.json").write_text(json.dumps(letters))
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=RATE).save_pretrained(folder)
    torch.manual_seed(seed)
    config = Wav2Vec2Config(
        vocab_size=len(letters), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8, 8), conv_stride=(40, 8), conv_kernel=(80, 16), num_feat_extract_layers=2, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2, pad_token_id=0,
    )  # fmt: skip
    Wav2Vec2ForCTC(config).eval().save_pretrained(folder)
    return folder
