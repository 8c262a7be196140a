"""What is to be computed of every picture, whatever process does it: options, weights, recipe."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from nasnet._version import __version__
from nasnet.compute.engine import Engine, EngineOptions
from nasnet.features.feature_set import FeatureMeta
from nasnet.features.pipeline import vectors
from nasnet.features.store import Batch, SinkOptions
from nasnet.hub.spec import ModuleSpec
from nasnet.network.build import build_plan
from nasnet.network.plan import Borders
from nasnet.network.spec import preset
from nasnet.pictures import recipes
from nasnet.pictures.recipes import Prepared, Recipe
from nasnet.pictures.sources import Item, SourceOptions
from nasnet.weights.fetch import FetchEvent, FetchOptions
from nasnet.weights.opening import Averages, Opened, open_weights, with_padding
from nasnet.weights.weights import fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedOptions:
    """How to turn pictures into vectors.

    Attributes:
        recipe: the preprocessing, by name; see `nasnet.RECIPES`.
        size: height and width the pictures are brought to; the network's own if not given.
        endpoint: which vector: `global_pool` (the features), `Logits`, `Predictions`, or a map,
            such as `Cell_5`, of which the mean over its positions is taken.
        engine: how to compute.
        decode_threads: how many pictures are decoded at once; as many as cores if not given.
        averages: which set of a training checkpoint to take; see `weights.opening.open_path`.
        padding: whose border pixels: `slim`, or `keras` for the numbers of keras.applications;
            what the weights say (`slim`, as a rule) if not given.
        source: how the source is read.
        sink: how a file is written.
        fetch: where to look for a handle and what is allowed.
    """

    recipe: str = "photo"
    size: tuple[int, int] | None = None
    endpoint: str = "global_pool"
    engine: EngineOptions = field(default_factory=EngineOptions)
    decode_threads: int | None = None
    averages: Averages = "auto"
    padding: Borders | None = None
    source: SourceOptions = field(default_factory=SourceOptions)
    sink: SinkOptions = field(default_factory=SinkOptions)
    fetch: FetchOptions = field(default_factory=FetchOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be computed of any picture; the engine aside, so that it can travel.

    Attributes:
        opened: the weights.
        recipe: the preprocessing.
        height: of the pixels that reach the network.
        width: alike.
        dimensions: length of a vector.
        options: all the rest.
    """

    opened: Opened
    recipe: Recipe
    height: int
    width: int
    dimensions: int
    options: EmbedOptions

    def prepare(self, item: Item) -> Prepared:
        """Read and preprocess one picture.

        Raises:
            PictureError: it cannot be.
        """
        return recipes.prepare(item.read(), self.recipe, self.height, self.width)


def open_job(
    weights: str | os.PathLike[str] | ModuleSpec,
    options: EmbedOptions,
    on_fetch: Callable[[FetchEvent], None] | None = None,
) -> Job:
    """Open the weights, and check that what is asked for can be computed with them.

    Raises:
        FetchError: the weights cannot be had.
        WeightsError: they are no NASNet-A weights, or damaged.
        InputError: no such recipe, endpoint, or the like.
    """
    recipe = recipes.get_recipe(options.recipe)
    if isinstance(weights, ModuleSpec):
        opened, size = with_padding(weights.opened, options.padding), weights.image_size
    else:
        opened = open_weights(
            os.fspath(weights),
            averages=options.averages,
            padding=options.padding,
            fetch_options=options.fetch,
            on_event=on_fetch,
        )
        size = opened.image_size
    height, width = options.size or size
    plan = build_plan(
        preset(opened.weights.spec),
        height=height,
        width=width,
        num_classes=opened.weights.num_classes,
    )
    return Job(
        opened=opened,
        dimensions=plan.endpoint(options.endpoint).shape[-1],
        recipe=recipe,
        height=height,
        width=width,
        options=options,
    )


def compute(job: Job, engine: Engine, items: Iterable[Item]) -> Iterator[Batch]:
    """Vectors of these pictures in order, a batch at a time; see `pipeline.vectors`."""
    options = job.options
    return vectors(
        items,
        job.prepare,
        engine,
        options.endpoint,
        width=job.dimensions,
        decode_threads=options.decode_threads or options.engine.cores,
    )


def job_meta(job: Job, source: str, *, engine: str, precision: str) -> FeatureMeta:
    """What a feature set of this job says about itself.

    Args:
        job: what is computed.
        source: what the pictures come from.
        engine: what computes, with its version and device.
        precision: as the engine calls it.
    """
    weights = job.opened.weights
    return FeatureMeta(
        module=weights.source,
        weights_fingerprint=fingerprint(weights),
        weights_status=weights.status,
        network=f"nasnet_{weights.spec}",
        endpoint=job.options.endpoint,
        recipe=job.recipe.name,
        recipe_text=recipes.describe(job.recipe),
        size=f"{job.height}x{job.width}",
        padding=weights.padding,
        precision=precision,
        engine=engine,
        source=source,
        version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
