"""Make the three data files from scikit-learn's copy of the handwritten digits.

    python data/prepare.py

They are committed, so nobody has to run this; it shows where they come from. Each file holds `image`,
float32 [n, 1, 8, 8] with 0 = paper and 1 = full ink, and `label`, int64 [n]. The split is stratified: 90
images of each digit to test on, 18 of each to calibrate quantisation with, the rest to learn from.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TEST, CALIBRATION = 90, 18  # images of each digit
HERE = Path(__file__).parent


def main() -> None:
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, None]
    labels = digits.target.astype(np.int64)
    shuffled = np.random.default_rng(1998).permutation(len(labels))
    parts: dict[str, list[np.ndarray]] = {"test": [], "calibration": [], "train": []}
    for digit in range(10):
        of_digit = shuffled[labels[shuffled] == digit]
        for part, rows in zip(parts, np.split(of_digit, [TEST, TEST + CALIBRATION]), strict=True):
            parts[part].append(rows)
    for part, rows in parts.items():
        chosen = np.sort(np.concatenate(rows))
        np.savez_compressed(HERE / f"{part}.npz", image=images[chosen], label=labels[chosen])


if __name__ == "__main__":
    main()
