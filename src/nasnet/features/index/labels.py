"""Pictures by the name of a class: words without a text model.

A classifier's last layer has a row of weights for each class it was taught, 1000 for ImageNet's,
and a picture's vector points its way as far as the picture shows the class. Only these names are
known: it reads no sentences.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError
from nasnet.features.feature_set import FeatureMeta
from nasnet.features.index.opened import Index, Where
from nasnet.features.own_weights import own_weights
from nasnet.weights.classes import BACKGROUND, class_names, imagenet_classes
from nasnet.weights.fetch import FetchOptions
from nasnet.weights.weights import Weights, fingerprint

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

_KERNEL, _BIASES, _HEADS = "final_layer/FC/weights", "final_layer/FC/biases", ("final_", "aux_")
# Stored vectors may have lost their length. Features of photographs are about so long; the order of
# what is found changes little from 5 to 50.
_LENGTH = 10.0
# So many candidates, or so many times what is asked for, are put in order by the whole classifier.
_CANDIDATES, _TIMES = 300, 10
_CLOSE = 5  # names in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """The last layer of a network that tells classes apart.

    Attributes:
        names: of its classes, in order.
        kernel: float32 [dimensions, classes].
        biases: float32 [classes].
    """

    names: tuple[str, ...]
    kernel: Floats
    biases: Floats

    def place(self, label: str) -> int:
        """The class of a name: all of it, one of its synonyms, or its WordNet id.

        Raises:
            InputError: there is none, or several.
        """
        wanted = _plain(label)
        by_name: dict[str, list[int]] = {}
        for place, name in enumerate(self.names):
            for one in {_plain(name), *(_plain(word) for word in name.split(","))}:
                by_name.setdefault(one, []).append(place)
        ids = [one.wordnet_id for one in imagenet_classes()]
        first = len(self.names) - len(ids)
        imagenet = first in (0, 1) and self.names[first] == imagenet_classes()[0].name
        if imagenet and wanted in ids:
            return first + ids.index(wanted)
        found = by_name.get(wanted, [])
        if len(found) == 1:
            return found[0]
        if found:
            which = ", ".join(f"{ids[place - first]} ({self.names[place]})" for place in found)
            raise InputError(f"{label!r} is several classes, name one by its id: {which}")
        count, near = len(self.named), self._near(wanted)
        raise InputError(f"no class {label!r} among the {count:,} of this network; {near}")

    @property
    def named(self) -> list[int]:
        """The classes but the background, which is what shows none of them."""
        return [place for place, name in enumerate(self.names) if name != BACKGROUND]

    def _near(self, wanted: str) -> str:
        """Names like a text, or some names."""
        by_word: dict[str, list[int]] = {}
        for place in self.named:
            for word in (*_plain(self.names[place]).split(), _plain(self.names[place])):
                by_word.setdefault(word.strip(","), []).append(place)
        close = [place for place in self.named if wanted in _plain(self.names[place])]
        for word in difflib.get_close_matches(wanted, by_word, _CLOSE):
            close += by_word[word]
        names = [self.names[place].partition(",")[0] for place in (close or self.named)]
        shown = ", ".join(list(dict.fromkeys(names))[:_CLOSE])
        return f"near it: {shown}" if close else f"such as {shown}"

    def query(self, place: int) -> Floats:
        """What to search with: the weights of a class, less what all classes share.

        Without that, pictures that excite all classes come first.
        """
        found = self.kernel[:, place] - self.kernel[:, self.named].mean(axis=1)
        return np.asarray(found, np.float32)

    def shares(self, vectors: Floats, place: int) -> Floats:
        """How likely a class is for each vector of length 1, 0 to 1, among all classes."""
        logits = _LENGTH * (vectors @ self.kernel) + self.biases
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers[:, place] / powers.sum(axis=1), np.float32)


def classifier_of(weights: Weights) -> Classifier:
    """The classifier of some weights.

    Raises:
        InputError: they have none.
    """
    if not weights.num_classes or _KERNEL not in weights.arrays:
        raise InputError(
            f"{weights.source} has no classifier, so it knows no classes by name: --weights names "
            "weights of the same network that have one"
        )
    return Classifier(
        names=class_names(weights),
        kernel=weights.arrays[_KERNEL],
        biases=weights.arrays[_BIASES],
    )


def classifier_for(
    meta: FeatureMeta,
    *,
    weights: str | os.PathLike[str] | None = None,
    fetch: FetchOptions | None = None,
) -> Classifier:
    """The classifier whose classes the vectors of a set can be asked for.

    It lies where `weights` says, such as a head that was trained on these vectors; else it is that
    of the set's own weights.

    Raises:
        InputError: it has none, or belongs to another network than the vectors.
        FetchError: the weights cannot be had.
        WeightsError: they are no NASNet-A weights, or damaged.
    """
    if meta.endpoint != "global_pool":
        raise InputError(
            f"classes are told by vectors of global_pool, and these are {meta.endpoint}"
        )
    found = own_weights(meta, weights, fetch=fetch).weights
    if fingerprint(found) != meta.weights_fingerprint and not _same_below(found, meta, fetch):
        raise InputError(
            f"{found.source} is not the network of these vectors ({meta.module}), so its classes "
            "say nothing about them"
        )
    return classifier_of(found)


def _same_below(found: Weights, meta: FeatureMeta, fetch: FetchOptions | None) -> bool:
    """Whether weights differ from those of a set in their classifier alone."""
    own = own_weights(meta, fetch=fetch).weights
    if fingerprint(own) != meta.weights_fingerprint or own.padding != found.padding:
        return False
    names = [name for name in own.arrays if not name.startswith(_HEADS)]
    return own.spec == found.spec and all(
        name in found.arrays and np.array_equal(own.arrays[name], found.arrays[name])
        for name in names
    )


def nearest_of_class(
    index: Index,
    classifier: Classifier,
    label: str,
    k: int = 10,
    *,
    where: Where | Rows | None = None,
) -> tuple[Rows, Floats]:
    """The pictures that show a class most likely.

    Those whose vectors point the way of the class's weights are put in order by how likely it is
    among all classes.

    Returns:
        Rows, int64 [k], and how likely the class is, float32 [k], the likeliest first.

    Raises:
        InputError: there is no such class, or the vectors are of another size.
    """
    place = classifier.place(label)
    if len(classifier.kernel) != index.dimensions:
        raise InputError(
            f"classes are told by vectors of {len(classifier.kernel)} dimensions, and these have "
            f"{index.dimensions}"
        )
    wanted = max(_CANDIDATES, _TIMES * k)
    rows, _ = index.nearest(classifier.query(place)[None], wanted, where=where)
    shares = classifier.shares(index.vectors(rows[0]), place)
    best = np.argsort(-shares, kind="stable")[:k]
    return rows[0][best], shares[best]


def _plain(text: str) -> str:
    return " ".join(text.replace("_", " ").lower().split())
