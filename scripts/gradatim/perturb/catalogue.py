"""The names and the parameters of every corruption, by kind of data; severities 1 to 5 in order.

Image parameters are those of ImageNet-C for images of at least 64 pixels and of CIFAR-10-C below
(Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", and its code).
"""

from __future__ import annotations

SEVERITIES = (1, 2, 3, 4, 5)

Levels = tuple[float, ...]

IMAGE_LARGE: dict[str, Levels] = {
    "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),  # standard deviation, of the value range
    "shot_noise": (60, 25, 12, 5, 3),  # photons at full brightness
    "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),  # share of pixels turned black or white
    "speckle_noise": (0.15, 0.2, 0.35, 0.45, 0.6),  # standard deviation, of the pixel's own value
    "gaussian_blur": (1, 2, 3, 4, 6),  # standard deviation, pixels
    "defocus_blur": (3, 4, 6, 8, 10),  # radius, pixels
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),  # share of the contrast that is left
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),  # added, of the value range
    "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),  # size it is reduced to
    "jpeg_compression": (25, 18, 15, 10, 7),  # quality
}

IMAGE_SMALL: dict[str, Levels] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": (500, 250, 100, 75, 50),
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
    "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1),
    "defocus_blur": (0.3, 0.4, 0.5, 1, 1.5),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
    "jpeg_compression": (80, 65, 58, 50, 40),
}

DEFOCUS_SOFTENING: dict[str, Levels] = {
    "large": (0.1, 0.5, 0.5, 0.5, 0.5),  # standard deviation of the disk's soft edge, pixels
    "small": (0.4, 0.5, 0.6, 0.2, 0.1),
}

TABULAR: dict[str, Levels] = {
    "feature_noise": (0.01, 0.05, 0.1, 0.2, 0.5),  # standard deviation, of the feature's own
    "missing_values": (0.01, 0.05, 0.1, 0.2, 0.4),  # share of cells, filled with the feature's mean
    "unit_error": (0.01, 0.02, 0.05, 0.1, 0.2),  # share of cells, times a power of ten
    "column_swap": (0.01, 0.05, 0.1, 0.2, 0.4),  # share of rows, two features exchanged
    "outliers": (0.01, 0.05, 0.1, 0.2, 0.4),  # share of cells, five to ten standard deviations away
}

TEXT: dict[str, Levels] = {
    "typos": (0.01, 0.03, 0.05, 0.1, 0.2),  # share of characters: insert, delete, replace, transpose
    "word_drop": (0.02, 0.05, 0.1, 0.2, 0.3),  # share of words
    "case_change": (0.02, 0.05, 0.1, 0.2, 0.3),  # share of words, upper and lower case exchanged
    "homoglyphs": (0.01, 0.03, 0.05, 0.1, 0.2),  # share of characters
    "zero_width": (0.01, 0.03, 0.05, 0.1, 0.2),  # share of gaps between characters
}

TYPO_KINDS: dict[str, float] = {"insert": 0.2, "delete": 0.2, "replace": 0.5, "transpose": 0.1}

AUDIO: dict[str, Levels] = {
    "background_noise": (30, 20, 10, 5, 0),  # signal-to-noise ratio, decibels
    "clipping": (0.01, 0.05, 0.1, 0.2, 0.4),  # share of samples cut off
    "gain": (-3, -6, -12, -20, -30),  # decibels
    "dropout": (0.02, 0.05, 0.1, 0.2, 0.3),  # share of 20 ms packets lost
    "speed": (1.02, 1.05, 1.1, 1.25, 1.5),  # times as fast
}

TOKENS: dict[str, Levels] = {
    "token_substitution": (0.01, 0.03, 0.05, 0.1, 0.2),  # share of tokens
    "token_drop": (0.01, 0.03, 0.05, 0.1, 0.2),
    "unknown_tokens": (0.02, 0.05, 0.1, 0.2, 0.4),
    "truncation": (0.95, 0.9, 0.75, 0.5, 0.25),  # share of the sequence that is left
}

NAMES: dict[str, tuple[str, ...]] = {
    "image": tuple(IMAGE_LARGE),
    "tabular": tuple(TABULAR),
    "text": tuple(TEXT),
    "audio": tuple(AUDIO),
    "tokens": tuple(TOKENS),
}

KIND_OF: dict[str, str] = {name: kind for kind, names in NAMES.items() for name in names}

ALL: tuple[str, ...] = tuple(KIND_OF)
