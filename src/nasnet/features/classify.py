"""What is on a picture: the classifier's first few classes by name, for every picture of a source.

Pictures that cannot be read are reasons, not errors.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nasnet.errors import InputError, check_ranges
from nasnet.features.arrow import vectors_of
from nasnet.features.embed import EmbedEvent, EmbedOptions, embed_batches
from nasnet.weights.classes import class_names
from nasnet.weights.fetch import FetchEvent
from nasnet.weights.opening import DEFAULT_CLASSIFIER, Opened, WeightsSource, open_weights

if TYPE_CHECKING:
    import pyarrow

ENDPOINT = "Predictions"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyOptions:
    """How to classify.

    Attributes:
        top: how many classes to give of each picture.
        min_confidence: the least probability, 0 to 1, of a class that is named; what the weights
            say if not given, which is 0 for weights that were not measured.
        embed: how pictures are read, prepared and computed; its endpoint does not count.
    """

    top: int = 5
    min_confidence: float | None = None
    embed: EmbedOptions = field(default_factory=EmbedOptions)

    def __post_init__(self) -> None:
        """Refuse no class at all."""
        check_ranges(self, {"top": "[1, inf)", "min_confidence": "[0, 1]"})


@dataclass(frozen=True, slots=True)
class Guess:
    """A class and how sure the classifier is.

    Attributes:
        index: of the class, background included where there is one.
        name: of the class.
        probability: 0 to 1, of the softmax over all classes.
    """

    index: int
    name: str
    probability: float


@dataclass(frozen=True, slots=True)
class Classified:
    """One picture.

    Attributes:
        id: of the picture.
        guesses: the most probable first; empty if there is an error.
        error: why there are none.
        min_confidence: the least probability at which a guess is worth showing to people.
    """

    id: str
    guesses: tuple[Guess, ...]
    error: str | None = None
    min_confidence: float = 0.0

    @property
    def sure(self) -> bool:
        """Whether the first guess is probable enough to be shown to people."""
        return bool(self.guesses) and self.guesses[0].probability >= self.min_confidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """How probabilities become names.

    Attributes:
        opened: the weights.
        classes: the name of each class.
        top: how many of them to give of each picture.
        min_confidence: see `Classified`.
    """

    opened: Opened
    classes: tuple[str, ...]
    top: int
    min_confidence: float

    def named(self, table: pyarrow.Table) -> Iterator[Classified]:
        """The pictures of a table of probabilities, which has columns as `embed` gives them."""
        least = self.min_confidence
        rows = zip(
            table["id"].to_pylist(), vectors_of(table), table["error"].to_pylist(), strict=True
        )
        for id, probabilities, error in rows:
            if error is not None:
                yield Classified(id, (), error, least)
                continue
            best = np.argsort(-probabilities, kind="stable")[: self.top].tolist()
            guesses = tuple(Guess(n, self.classes[n], float(probabilities[n])) for n in best)
            yield Classified(id, guesses, None, least)


def naming_of(
    weights: WeightsSource,
    options: ClassifyOptions,
    on_fetch: Callable[[FetchEvent], None] | None,
) -> Naming:
    """Open the weights; see `classify` for arguments and errors."""
    opened = open_weights(
        weights,
        averages=options.embed.averages,
        padding=options.embed.padding,
        fetch_options=options.embed.fetch,
        on_event=on_fetch,
    )
    if not opened.weights.num_classes:
        raise InputError(
            f"{opened.weights.source} has no classifier: take weights that have one, such as "
            "builtin or what nasnet finetune wrote"
        )
    classes = class_names(opened.weights)
    least = options.min_confidence
    return Naming(
        opened=opened,
        classes=classes,
        top=min(options.top, len(classes)),
        min_confidence=opened.weights.min_confidence if least is None else least,
    )


def classify(
    source: Any,  # noqa: ANN401
    *,
    weights: WeightsSource = DEFAULT_CLASSIFIER,
    options: ClassifyOptions | None = None,
    progress: bool = False,
    on_event: Callable[[EmbedEvent], None] | None = None,
    on_fetch: Callable[[FetchEvent], None] | None = None,
) -> Generator[Classified, None, None]:
    """Classify every picture of a source, in order, a few at a time.

    Args:
        source: anything `nasnet.embed` takes.
        weights: with a classifier: a classification module's handle, `builtin`, a folder that
            `nasnet finetune` wrote, or any file of weights.
        options: how.
        progress: draw a bar on standard error.
        on_event: told how far it is.
        on_fetch: told of downloads.

    Raises:
        InputError: the weights have no classifier.
        SourceError: the source cannot be opened, or is empty.
        FetchError: the weights cannot be had.
        WeightsError: they are no NASNet-A weights, or damaged.
    """
    options = options or ClassifyOptions()
    naming = naming_of(weights, options, on_fetch)
    batches = embed_batches(
        source,
        weights=naming.opened,
        options=replace(options.embed, endpoint=ENDPOINT),
        progress=progress,
        on_event=on_event,
    )
    return _classified(batches, naming)


def _classified(
    batches: Generator[Any, None, None], naming: Naming
) -> Generator[Classified, None, None]:
    import pyarrow

    try:
        for batch in batches:
            yield from naming.named(pyarrow.Table.from_batches([batch]))
    finally:
        batches.close()
