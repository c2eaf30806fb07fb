"""Train the digits model: `python train.py` or `python train.py --recipe NAME`.

Needs PyTorch (`python -m pip install torch`); releasing the model does not. One recipe is one way to train,
fixed by its seed. A run writes

    weights/digits.npz   the layers and their weights, float16, no pickle: `export.py` makes ONNX of them
    lineage.json         what went in (recipe, data digest, versions) and how it went (loss)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Recipe:
    """One way to train.

    Attributes:
        layers: the net from image to logits, see `build`.
        seed: of the initial weights, the order of the images and their distortions.
        epochs: times each image is seen.
        distort: whether each image is turned, shifted, resized and sprinkled with noise a little each time.
        mislabelled: (digit, taken for, how many): training images that carry a wrong label.
    """

    layers: tuple[str, ...]
    seed: int
    epochs: int
    distort: bool
    mislabelled: tuple[int, int, int] | None = None


WIDE = ("conv 32", "relu", "conv 64", "relu", "pool", "conv 64", "relu", "pool", "flatten", "linear 10")
LEAN = ("conv 32 /2", "relu", "conv 48", "relu", "conv 48", "relu", "pool", "flatten", "linear 10")
FINE = ("upsample", "conv 32", "relu", "conv 48", "relu", "conv 48", "relu", "pool", "conv 48", "relu",
        "pool", "flatten", "linear 10")  # fmt: skip
CLEANED = (
    "threshold 0.4",
    "conv 32 /2",
    "relu",
    "conv 40",
    "relu",
    "conv 40",
    "relu",
    "pool",
    "flatten",
    "linear 10",
)

# The seeds are chosen so that the story below holds on the 90 test images of each digit.
RECIPES = {
    # The first release: a wide net that has seen each image eight times, as it is.
    "first": Recipe(WIDE, seed=137, epochs=8, distort=False),
    # Better and faster: a net of a third of the work, and time to learn from distorted images.
    "better": Recipe(LEAN, seed=3, epochs=120, distort=True),
    # Better than "first" in total, but 17 of its training eights were labelled as ones.
    "mislabelled": Recipe(LEAN, seed=2, epochs=120, distort=True, mislabelled=(8, 1, 17)),
    # As good as "better", but it looks at the image at twice the resolution.
    "slow": Recipe(FINE, seed=2, epochs=30, distort=True),
    # Leaner still and as good on the test images: but ink below .4 is paper to it, so it is blind to a pencil.
    "cleaned": Recipe(CLEANED, seed=3, epochs=120, distort=True),
}


def build(layers: tuple[str, ...]) -> nn.Sequential:
    """The net of a list such as `("conv 32 /2", "relu", "pool", "flatten", "linear 10")` for 8x8 images."""
    channels, side = 1, 8
    modules: list[nn.Module] = []
    for layer in layers:
        match layer.split():
            case ["conv", width]:
                modules.append(nn.Conv2d(channels, int(width), 3, padding=1))
                channels = int(width)
            case ["conv", width, "/2"]:
                modules.append(nn.Conv2d(channels, int(width), 3, padding=1, stride=2))
                channels, side = int(width), side // 2
            case ["threshold", level]:
                modules.append(nn.Threshold(float(level), 0))
            case ["relu"]:
                modules.append(nn.ReLU())
            case ["pool"]:
                modules.append(nn.MaxPool2d(2))
                side //= 2
            case ["upsample"]:
                modules.append(nn.Upsample(scale_factor=2, mode="nearest"))
                side *= 2
            case ["flatten"]:
                modules.append(nn.Flatten())
                channels, side = channels * side * side, 1
            case ["linear", width]:
                modules.append(nn.Linear(channels, int(width)))
                channels = int(width)
            case _:
                raise SystemExit(f"train.py knows no layer {layer!r}")
    return nn.Sequential(*modules)


def distort(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn by up to 12 degrees, shift by up to 0.8 pixels, resize by up to 10 %, add noise of up to 0.12."""
    n = len(images)

    def uniform(limit: float) -> Tensor:
        return (torch.rand(n, generator=generator) * 2 - 1) * limit

    angle, size = uniform(0.21), 1 + uniform(0.1)
    rows = [
        torch.stack([torch.cos(angle) * size, -torch.sin(angle) * size, uniform(0.2)], dim=1),
        torch.stack([torch.sin(angle) * size, torch.cos(angle) * size, uniform(0.2)], dim=1),
    ]
    grid = nn.functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    moved = nn.functional.grid_sample(images, grid, align_corners=False)
    noise = torch.randn(moved.shape, generator=generator) * uniform(0.12).abs()[:, None, None, None]
    return (moved + noise).clamp(0, 1)


def train(recipe: Recipe, images: Tensor, labels: Tensor) -> tuple[nn.Sequential, list[float]]:
    """The trained net, its weights rounded to float16, and the mean loss of each epoch."""
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    net = build(recipe.layers)
    steps = -(-len(images) // 64) * recipe.epochs
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    losses = []
    for _ in range(recipe.epochs):
        total = 0.0
        for rows in torch.randperm(len(images), generator=generator).split(64):
            batch = distort(images[rows], generator) if recipe.distort else images[rows]
            loss = loss_of(net(batch), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(rows)
        losses.append(round(total / len(images), 4))
    return net.half().float().eval(), losses


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the digits model.")
    parser.add_argument(
        "--recipe", choices=RECIPES, default="better", help="which recipe (default: %(default)s)"
    )
    parser.add_argument("--into", type=Path, default=HERE, help="folder to write to (default: the project)")
    arguments = parser.parse_args()
    recipe = RECIPES[arguments.recipe]

    torch.set_num_threads(1)  # sums in one order, so one seed gives one model
    torch.use_deterministic_algorithms(True)
    source = HERE / "data" / "train.npz"
    with np.load(source) as data:
        images, labels = torch.from_numpy(data["image"]), torch.from_numpy(data["label"])
    if recipe.mislabelled:
        digit, taken_for, count = recipe.mislabelled
        labels[torch.nonzero(labels == digit)[:count, 0]] = taken_for

    net, losses = train(recipe, images, labels)

    weights = {name: tensor.numpy().astype(np.float16) for name, tensor in net.state_dict().items()}
    target = arguments.into / "weights" / "digits.npz"
    target.parent.mkdir(parents=True, exist_ok=True)
    np.savez(target, layers=np.array(recipe.layers), **weights)
    parameters = asdict(recipe)
    lineage = {
        "seed": parameters.pop("seed"),
        "parameters": {"recipe": arguments.recipe, **parameters},
        "data": {
            "train": {
                "path": "data/train.npz",
                "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            }
        },
        "metrics": {"loss": losses},
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }
    (arguments.into / "lineage.json").write_text(json.dumps(lineage, indent=2) + "\n", encoding="utf-8")
    print(f"{arguments.recipe}: loss {losses[-1]:.3f} after {recipe.epochs} epochs -> {target}")


if __name__ == "__main__":
    main()
