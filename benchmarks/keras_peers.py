"""keras.applications.NASNetMobile on TensorFlow as a peer: `predict`, and a traced call.

Made by `peers.make_peer`, in a process of its own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import WEIGHTS, Floats, Peer, Pixels, write_vectors
from nasnet.weights import layouts
from nasnet.weights.opening import open_weights

__all__ = ["make"]

_BATCH = 32  # Keras' own default, of `predict` and of its loader


def make(kind: str, threads: int) -> Peer:
    """`predict` or `call`, with the benchmark's weights."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    network = keras.applications.NASNetMobile(
        weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3)
    )
    _fill(network)
    traced = tf.function(
        lambda images: network(images, training=False),
        input_signature=[tf.TensorSpec([None, 224, 224, 3], tf.float32)],
    )

    def predict(images: Any) -> Floats:  # noqa: ANN401 - whatever `prepare` gave
        return np.asarray(network.predict(images, batch_size=_BATCH, verbose=0))

    def call(images: Any) -> Floats:  # noqa: ANN401 - whatever `prepare` gave
        return np.asarray(traced(tf.constant(images)))

    def embed(photos: str, output: Path) -> int:
        pictures = keras.utils.image_dataset_from_directory(
            photos,
            labels=None,
            image_size=(224, 224),
            batch_size=_BATCH,
            shuffle=False,
            verbose=False,
        )
        scaled = pictures.map(keras.applications.nasnet.preprocess_input).prefetch(2)
        vectors = network.predict(scaled, verbose=0)
        return write_vectors(output, pictures.file_paths, vectors)

    return Peer(
        version=f"tensorflow {tf.__version__}, keras {keras.__version__}",
        arithmetic="f32",
        prepare=_scaled,
        compute=predict if kind == "predict" else call,
        embed=embed if kind == "predict" else None,
    )


def _scaled(images: Pixels) -> Floats:
    return images.astype(np.float32) / np.float32(127.5) - np.float32(1)


def _fill(network: Any) -> None:  # noqa: ANN401
    """Set every layer's weights by name."""
    weights = open_weights(WEIGHTS).weights
    layers: dict[str, dict[str, Any]] = {}
    there = {layer.name for layer in network.layers}
    for name, place in layouts.places("keras", weights.spec, 1000).items():
        layer, variable = place.key.split("/")
        if layer in there:
            layers.setdefault(layer, {})[variable] = weights.arrays[name]
    for layer_name, values in layers.items():
        layer = network.get_layer(layer_name)
        layer.set_weights([values[variable.name] for variable in layer.weights])
