"""From weights, a recipe, a size, an endpoint and an engine to vectors and what they are.

Everything that computes vectors in bulk holds one of these; it reads no source and writes no file.
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from nasnet._version import __version__
from nasnet.compute import engine as engines
from nasnet.compute.engine import Engine, EngineOptions
from nasnet.errors import InputError, PictureError, check_range
from nasnet.features.bars import progress_bar
from nasnet.features.feature_set import FeatureMeta
from nasnet.features.pipeline import vectors
from nasnet.features.reduction import unit
from nasnet.features.store import Batch
from nasnet.network.build import check_sides
from nasnet.network.code import decode
from nasnet.network.plan import Borders
from nasnet.pictures import recipes
from nasnet.pictures.recipes import Prepared
from nasnet.pictures.sources import Item, open_source
from nasnet.weights.fetch import FetchEvent, FetchOptions
from nasnet.weights.opening import DEFAULT_HANDLE, Averages, WeightsSource, open_weights
from nasnet.weights.weights import Weights, fingerprint, plan_of


class Extractor:
    """Pictures in, feature vectors out: float32 [n, dimensions], in the order of the pictures.

    The engine is made when it is first needed, by whichever thread needs it. A pickle of an
    extractor has none and makes its own where it arrives.

    Attributes:
        weights: what computes.
        recipe: how pictures become pixels.
        height: of these pixels, in pixels.
        width: of these pixels, in pixels.
        endpoint: which vector.
        dimensions: length of a vector.
        options: how the engine computes.
        notes: what a user should know about the weights.
    """

    def __init__(
        self,
        weights: WeightsSource | Weights = DEFAULT_HANDLE,
        *,
        recipe: str = "photo",
        picture_pixels: int | None = None,
        size: tuple[int, int] | None = None,
        endpoint: str = "global_pool",
        engine: EngineOptions | None = None,
        decode_threads: int | None = None,
        averages: Averages = "auto",
        padding: Borders | None = None,
        fetch: FetchOptions | None = None,
        on_fetch: Callable[[FetchEvent], None] | None = None,
    ) -> None:
        """Open the weights, and check that what is asked for can be computed with them.

        Args:
            weights: a published handle, `builtin`, a file or folder, `seeded:N`, or what has been
                opened already.
            recipe: how pictures become pixels: photo, tf1-hub, tf2-hub, slim-eval or
                cadene-eval; with or without a version (`photo/1`).
            picture_pixels: the largest picture that is unpacked; 178,956,970 if not given. A JPEG
                that is decoded reduced counts as it is unpacked.
            size: height and width the pictures are brought to; the network's own if not given.
            endpoint: `global_pool` (the features), `Logits`, `Predictions`, or a map such as
                `Cell_5`, of which the mean over its positions is taken.
            engine: how to compute.
            decode_threads: how many pictures are decoded at once; as many as cores if not given.
            averages: which set of a training checkpoint to take: `plain`, `average` or `auto`.
            padding: whose border pixels, `slim` or `keras`; what the weights say if not given.
            fetch: where to look for a handle and what is allowed.
            on_fetch: told of downloads.

        Raises:
            FetchError: the weights cannot be had.
            WeightsError: they are no NASNet-A weights, or damaged.
            InputError: no such recipe or endpoint, or a size the network cannot take.
        """
        self.recipe = recipes.get_recipe(recipe, picture_pixels=picture_pixels)
        self.notes: tuple[str, ...] = ()
        if isinstance(weights, Weights):
            self.weights = weights
            side = decode(weights.spec).image_size
            own = weights.image_size or (side, side)
        else:
            opened = open_weights(
                weights, averages=averages, padding=padding, fetch_options=fetch, on_event=on_fetch
            )
            self.weights, self.notes = opened.weights, opened.notes
            own = opened.image_size
        self.height, self.width = own if size is None else check_sides(size)
        check_range("decode_threads", decode_threads, "[1, inf)")
        self.endpoint = endpoint
        self.options = engine or EngineOptions()
        self.decode_threads = decode_threads or self.options.cores
        plan = plan_of(self.weights, self.height, self.width)
        self.dimensions: int = plan.endpoint(endpoint).shape[-1]
        self._engines: dict[int | None, Engine] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        # Engines and locks belong to a process.
        return {**self.__dict__, "_engines": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Use it in a `with` statement to have its memory back at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def engine(self) -> Engine:
        """What computes.

        Raises:
            UnsupportedError: this machine cannot compute as asked.
            MissingExtraError: a package is missing.
        """
        return self._engine_for(self.options.batch_size)

    def _engine_for(self, batch_size: int | None) -> Engine:
        with self._lock:
            if batch_size not in self._engines:
                options = replace(self.options, batch_size=batch_size)
                self._engines[batch_size] = engines.create(self.weights, options)
            return self._engines[batch_size]

    @property
    def engine_name(self) -> str:
        """Framework, version and device, such as `openvino 2026.4.1, CPU`."""
        return f"{self.engine.name}, {self.engine.device}"

    def with_engine(self, engine: EngineOptions, *, decode_threads: int) -> Extractor:
        """The same vectors from another engine, such as that of another machine."""
        other = copy.copy(self)
        other._engines = {}
        other.options, other.decode_threads = engine, decode_threads
        return other

    def close(self) -> None:
        """Give the engine's memory back; the next use makes another."""
        with self._lock:
            while self._engines:
                self._engines.popitem()[1].close()

    def prepare(self, picture: Any, *, signed: bool = False) -> Prepared:  # noqa: ANN401
        """One picture as the network's input.

        Args:
            picture: encoded bytes, an array [height, width, 3] uint8, or a PIL image.
            signed: with its signature, by which copies are found.

        Raises:
            PictureError: it cannot be read.
        """
        return recipes.prepare(picture, self.recipe, self.height, self.width, signed=signed)

    def batches(
        self, items: Iterable[Item], *, signed: bool = False, batch_size: int | None = None
    ) -> Iterator[Batch]:
        """A vector for every item, or the reason why there is none, in order, a batch at a time.

        Args:
            items: the pictures.
            signed: with their signatures, as feature sets have them.
            batch_size: pictures in one call of the engine, if not as `engine` says.
        """
        return vectors(
            items,
            lambda item: self.prepare(item.read(), signed=signed),
            self._engine_for(batch_size or self.options.batch_size),
            self.endpoint,
            width=self.dimensions,
            decode_threads=self.decode_threads,
        )

    def embed(
        self,
        pictures: Any,  # noqa: ANN401
        *,
        batch_size: int | None = None,
        normalize: bool = False,
        progress: bool = False,
        on_error: Literal["raise", "nan"] = "raise",
    ) -> npt.NDArray[np.float32]:
        """The vectors of pictures, in memory.

        Args:
            pictures: a list of what you have: paths, URLs, bytes, PIL images, arrays [height,
                width, 3] uint8, mixed as you like; one of them; or any source of `nasnet.embed`,
                such as a folder or an archive.
            batch_size: pictures in one call of the engine, if not what is best here; another size
                than before compiles the network once more, which takes most of a second.
            normalize: give vectors of length 1, whose products are cosines.
            progress: draw a bar on standard error.
            on_error: what a picture that cannot be read does: `raise` an error, or leave a row of
                `nan` (not a number).

        Returns:
            float32 [pictures, dimensions], in order; [0, dimensions] of an empty list.

        Raises:
            PictureError: a picture cannot be read; the text names it.
            SourceError: the source cannot be opened, or is an empty folder or archive.
            InputError: no such `on_error`, or a batch size below 1.
        """
        if on_error not in ("raise", "nan"):
            raise InputError(f"on_error is 'raise' or 'nan', not {on_error!r}")
        check_range("batch_size", batch_size, "[1, inf)")
        # A list of no pictures is one; a folder without any is most often the wrong one.
        parts = [np.zeros((0, self.dimensions), np.float32)]
        if isinstance(pictures, list | tuple | np.ndarray) and not len(pictures):
            return parts[0]
        source = open_source(Path(pictures) if isinstance(pictures, os.PathLike) else pictures)
        with progress_bar(source.count, shown=progress) as advance:
            for batch in self.batches(source, batch_size=batch_size):
                failed = next(
                    (one for one in zip(batch.ids, batch.errors, strict=True) if one[1]), None
                )
                if failed is not None and on_error == "raise":
                    raise PictureError(f"{failed[0]}: {failed[1]}")
                parts.append(unit(batch.vectors) if normalize else batch.vectors)
                advance(len(batch.ids))
        return np.concatenate(parts)

    def meta(
        self, source: str, *, engine: str | None = None, precision: str | None = None
    ) -> FeatureMeta:
        """What vectors of this extractor say about themselves.

        Args:
            source: what the pictures come from.
            engine: what computes, if it is not the engine of this process.
            precision: what it computes in.
        """
        weights = self.weights
        return FeatureMeta(
            module=weights.source,
            weights_fingerprint=fingerprint(weights),
            weights_status=weights.status,
            network=weights.network,
            endpoint=self.endpoint,
            recipe=self.recipe.name,
            recipe_text=recipes.describe(self.recipe),
            size=f"{self.height}x{self.width}",
            padding=weights.padding,
            precision=precision or self.engine.precision,
            engine=engine or self.engine_name,
            source=source,
            version=__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
