"""Makes the models beside it, which header checks are held to: ``python tests/unit/keras_models/make.py``, with TensorFlow."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import tensorflow as tf

HERE = Path(__file__).parent


def two_inputs() -> keras.Model:
    """Inputs and outputs by name, with operators of Keras's between the layers."""
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    joined = keras.layers.Concatenate()([a * 2 + 1, keras.ops.relu(b)])
    outputs = {"sum": keras.layers.Dense(1, name="sum")(joined), "big": keras.layers.Dense(4, name="big")(a)}
    return keras.Model({"a": a, "b": b}, outputs)


def of_text() -> keras.Model:
    """Text to scores, with its words as an asset."""
    words = keras.layers.TextVectorization(max_tokens=50, output_sequence_length=6)
    words.adapt(["good bad fine", "ugly bad"])
    embedded = [keras.layers.Embedding(50, 8), keras.layers.GlobalAveragePooling1D()]
    return keras.Sequential(
        [keras.Input((), dtype="string", name="text"), words, *embedded, keras.layers.Dense(2, name="scores")]
    )


def of_words() -> keras.Model:
    """A category by name and numbers, in a table of words."""
    color, number = keras.Input((1,), dtype="string", name="color"), keras.Input((2,), name="number")
    one_hot = keras.layers.StringLookup(vocabulary=["red", "green"], output_mode="one_hot")(color)
    scaled = keras.layers.Normalization(mean=0.0, variance=1.0)(number)
    return keras.Model(
        [color, number], keras.layers.Dense(1, name="y")(keras.layers.Concatenate()([one_hot, scaled]))
    )


class Two(tf.Module):
    """Two signatures, none of them the default."""

    def __init__(self) -> None:
        self.weight = tf.Variable(tf.eye(3))

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def score(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x @ self.weight}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def embed(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"e": x @ self.weight + 1}


def main() -> None:
    keras.utils.set_random_seed(0)
    for name, model in {"two_inputs": two_inputs(), "text": of_text(), "words": of_words()}.items():
        model.save(HERE / f"{name}.keras")
    for place in ("words", "two_signatures"):
        shutil.rmtree(HERE / place, ignore_errors=True)
    of_words().export(HERE / "words", verbose=False)
    two = Two()
    tf.saved_model.save(two, HERE / "two_signatures", signatures={"score": two.score, "embed": two.embed})


if __name__ == "__main__":
    main()
