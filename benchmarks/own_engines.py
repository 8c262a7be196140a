"""This package's engines as peers: one vector function, and the pipeline of `nasnet embed`.

Made by `peers.make_peer`, in a process of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np

import nasnet
from benchmarks.peers import WEIGHTS, Floats, Peer, Pixels
from nasnet import EngineOptions
from nasnet.compute.engine import Engine, EngineName, Precision, create, run
from nasnet.features.feature_set import FeatureMeta
from nasnet.features.pipeline import vectors
from nasnet.features.store import open_sink
from nasnet.pictures import recipes
from nasnet.pictures.sources import Item, open_source
from nasnet.weights.opening import open_weights
from nasnet.weights.weights import fingerprint

__all__ = ["make"]

_ENDPOINT = "global_pool"
_SIZE = (224, 224)
_WIDTH = 1056


def make(kind: str, threads: int) -> Peer:
    """The engine that `kind` names: engine and precision with a blank between."""
    name, precision = kind.split()
    weights = open_weights(WEIGHTS).weights
    options = EngineOptions(
        engine=cast(EngineName, name), precision=cast(Precision, precision), threads=threads
    )
    engine = create(weights, options)

    def compute(images: Any) -> Floats:  # noqa: ANN401 - whatever `prepare` gave
        return run(engine, images, (_ENDPOINT,))[_ENDPOINT]

    def embed(photos: str, output: Path) -> int:
        return _embed(engine, fingerprint(weights), photos, output, threads)

    return Peer(
        version=engine.name,
        arithmetic=engine.precision,
        prepare=_as_they_are,
        compute=compute,
        embed=embed,
    )


def _as_they_are(images: Pixels) -> Pixels:
    return np.ascontiguousarray(images)


def _embed(engine: Engine, identity: str, photos: str, output: Path, threads: int) -> int:
    """What `nasnet embed` does once its engine is there: the peers' networks stand ready too."""
    recipe = recipes.get_recipe("photo")

    def prepare(item: Item) -> recipes.Prepared:
        return recipes.prepare(item.read(), recipe, *_SIZE)

    source = open_source(photos)
    meta = FeatureMeta(
        module=WEIGHTS,
        weights_fingerprint=identity,
        weights_status="untrained",
        network="nasnet_mobile",
        endpoint=_ENDPOINT,
        recipe=recipe.name,
        recipe_text=recipes.describe(recipe),
        size="224x224",
        precision=engine.precision,
        engine=engine.name,
        source=source.name,
        version=nasnet.__version__,
        created="",
    )
    sink = open_sink(output, meta=meta, dimensions=_WIDTH)
    try:
        for batch in vectors(
            source, prepare, engine, _ENDPOINT, width=_WIDTH, decode_threads=threads
        ):
            sink.write(batch)
        rows, _ = sink.finish()
    finally:
        sink.close()
    return rows
