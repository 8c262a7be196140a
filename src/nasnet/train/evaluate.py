"""How good a classification module is on labelled pictures: scores, and the worst mistakes.

Computes through the fast engine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from nasnet.compute.engine import EngineOptions
from nasnet.errors import InputError
from nasnet.features.extractor import Extractor
from nasnet.pictures.recipes import Recipe
from nasnet.pictures.sources import DatasetOptions, Example, open_examples
from nasnet.train.labelled_data import on_this_machine
from nasnet.train.metrics import Scores, score
from nasnet.train.predict import Predicted, picture_of, predict
from nasnet.train.report import Mistake
from nasnet.weights.classes import BACKGROUND, namings
from nasnet.weights.fetch import FetchEvent, FetchOptions
from nasnet.weights.opening import open_weights

_SHOWN = 60  # mistakes kept with their pictures
_THUMBNAIL = 160  # pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """How pictures are judged.

    Attributes:
        recipe: how pictures become pixels: photo, tf1-hub, tf2-hub, slim-eval or cadene-eval.
        size: height and width the pictures are brought to; the module's own if not given.
        engine: how to compute.
        dataset: how the data are read; all of them are judged, whatever it says of a split.
        fetch: where to look for a handle.
    """

    recipe: str = "photo"
    size: tuple[int, int] | None = None
    engine: EngineOptions = field(default_factory=EngineOptions)
    dataset: DatasetOptions = field(default_factory=DatasetOptions)
    fetch: FetchOptions = field(default_factory=FetchOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What came of it.

    Attributes:
        scores: accuracy, per class, calibration.
        classes: names, in the order of the logits.
        mistakes: the most confident wrong answers, with pictures.
        failures: (id, reason) of pictures that could not be read.
        notes: what a user should know about the data.
        weights: whose scores they are.
    """

    scores: Scores
    classes: tuple[str, ...]
    mistakes: tuple[Mistake, ...]
    failures: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    weights: str


def evaluate(
    module: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    options: EvaluateOptions | None = None,
    on_fetch: Callable[[FetchEvent], None] | None = None,
    on_done: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Judge a module with a classifier on labelled pictures.

    Args:
        module: a folder, file or handle with a classifier, such as what `finetune` wrote.
        data: labelled pictures, as `finetune` takes them; classes are matched by name, integer
            labels by number. A network of ImageNet's classes knows them by name, by WordNet id and
            by number.
        options: how.
        on_fetch: told of downloads.
        on_done: told how many pictures of how many are done.

    Raises:
        InputError: the module has no classifier.
        SourceError: the data cannot be read, or have a class the module does not know.
    """
    options = options or EvaluateOptions()
    opened = open_weights(os.fspath(module), fetch_options=options.fetch, on_event=on_fetch)
    weights = opened.weights
    if not weights.num_classes:
        raise InputError(f"{weights.source} has no classifier: nothing to evaluate")
    usual, *others = namings(weights)
    known, examples, notes = open_examples(
        on_this_machine(data, options.fetch, on_fetch),
        classes=usual,
        aliases=others,
        options=options.dataset,
    )
    background = sum(example.label == 0 for example in examples)
    if background and usual[0] == BACKGROUND:
        notes += (
            f"{background:,} pictures are labelled 0, which is the background here: ImageNet's "
            "classes begin at 1, so labels of 0 to 999 need one more",
        )
    extractor = Extractor(
        opened,
        endpoint="Logits",
        recipe=options.recipe,
        size=options.size,
        engine=options.engine,
    )

    def tell(done: int) -> None:
        if on_done is not None:
            on_done(done, len(examples))

    predicted = predict(examples, extractor, on_done=tell)
    return judge(predicted, examples, known, extractor, notes=notes)


def judge(
    predicted: Predicted,
    examples: Sequence[Example],
    classes: Sequence[str],
    extractor: Extractor,
    *,
    notes: Sequence[str] = (),
) -> Evaluation:
    """Scores and mistakes from logits.

    The extractor's recipe shows the mistakes as the network sees them.
    """
    labels = predicted.labels(examples)
    scores = score(predicted.values, labels, classes)
    return Evaluation(
        scores=scores,
        classes=tuple(classes),
        mistakes=_mistakes(predicted, labels, examples, classes, extractor.recipe),
        failures=predicted.failures,
        notes=tuple(notes),
        weights=extractor.weights.described,
    )


def accuracy(
    examples: Sequence[Example], classes: Sequence[str], extractor: Extractor
) -> dict[str, float]:
    """Loss and accuracy on labelled pictures, as a training is judged after each epoch.

    Raises:
        SourceError: not one picture can be read.
    """
    predicted = predict(examples, extractor)
    scores = score(predicted.values, predicted.labels(examples), classes)
    return {"loss": scores.loss, "accuracy": scores.top1}


def _mistakes(
    predicted: Predicted,
    labels: npt.NDArray[np.int64],
    examples: Sequence[Example],
    classes: Sequence[str],
    recipe: Recipe,
) -> tuple[Mistake, ...]:
    logits = predicted.values.astype(np.float64)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    confidence = shifted.max(axis=1) / shifted.sum(axis=1)
    answers = logits.argmax(axis=1)
    wrong = np.flatnonzero(answers != labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:_SHOWN]
    return tuple(
        Mistake(
            id=examples[predicted.rows[place]].id,
            true=classes[labels[place]],
            predicted=classes[answers[place]],
            confidence=float(min(confidence[place], 1.0)),
            picture=picture_of(examples[predicted.rows[place]], recipe, _THUMBNAIL),
        )
        for place in worst
    )
