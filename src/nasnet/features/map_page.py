"""A feature set as a map: two dimensions, groups by colour, one HTML page that opens offline."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError, check_ranges, hidden, needs
from nasnet.features.bars import OnStep, stage_bars
from nasnet.features.columns import words_of_rows
from nasnet.features.feature_set import FeatureMeta, Features, FeatureSource, as_features
from nasnet.features.fitting import small_fit
from nasnet.features.page import (
    pictures_from,
    policy,
    render,
    source,
    weights_facts,
    weights_warning,
)
from nasnet.features.reduction import unit
from nasnet.pictures.sampling import spread_evenly
from nasnet.pictures.sources import SourceOptions
from nasnet.pictures.thumbnails import thumbnails
from nasnet.system import write_whole
from nasnet.text import check_known, display_name

Method = Literal["umap", "pca"]
METHODS: tuple[Method, ...] = get_args(Method)
_LEAST_FOR_UMAP = 5
_RANGES = {
    "clusters": "[0, inf)",
    "neighbours": "[2, inf)",
    "thumbnails": "[0, inf)",
    "thumbnail_size": "[16, inf)",
}


def _nothing(what: str, done: int, total: int | None) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOptions:
    """How to draw.

    Attributes:
        method: `umap` (extra `map`), which keeps neighbours together, or `pca`.
        clusters: groups to find by k-means (extra `map`), where no labels are given; 0 for none.
        neighbours: neighbours that UMAP looks at: few show small groups, many show the whole.
        seed: of the random numbers of UMAP and k-means: the same seed gives the same map.
        thumbnails: most small pictures in the page; they are spread evenly over all.
        thumbnail_size: their longest side, in pixels.
        source: how the pictures are read; as when the vectors were computed.
    """

    method: Method = "umap"
    clusters: int = 12
    neighbours: int = 15
    seed: int = 1
    thumbnails: int = 2000
    thumbnail_size: int = 96
    source: SourceOptions = field(default_factory=SourceOptions)

    def __post_init__(self) -> None:
        """Refuse what is no map."""
        check_known("method", self.method, METHODS)
        check_ranges(self, _RANGES)


def project(
    vectors: npt.NDArray[np.float32], options: MapOptions, on_step: OnStep = _nothing
) -> npt.NDArray[np.float32]:
    """Two dimensions for many: by UMAP (McInnes et al. 2018) on cosines, or by PCA.

    Vectors are float32 [n, dimensions], finite.

    Returns:
        float32 [n, 2], x from 0 to 1 along the larger spread, y from 0 to 1 or less.

    Raises:
        MissingExtraError: umap-learn is not installed.
    """
    some = unit(vectors)
    if options.method == "umap" and len(some) >= _LEAST_FOR_UMAP:
        places = _umap(some, options, on_step)
    else:
        places = _pca(some)
    places = _drawn_in(_pca(places))
    places -= places.min(axis=0)
    return np.asarray(places / (float(places.max()) or 1.0), np.float32)


def _drawn_in(places: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The same with less emptiness, so that islands far out do not squeeze the rest.

    Half of a place along an axis is where it was, half its rank among all: gaps shrink, and what
    lay left of another does so still.
    """
    span = np.ptp(places, axis=0)
    ranks = np.stack([np.searchsorted(np.sort(axis), axis) for axis in places.T], axis=1)
    return np.asarray(places + ranks / len(places) * span, np.float32)


class _Epochs:
    """The file that tqdm draws UMAP's bar on, as `done total`; nothing else tells how far it is."""

    def __init__(self, on_step: OnStep) -> None:
        self._on_step = on_step

    def write(self, text: str) -> None:
        numbers = [int(word) for word in text.split() if word.isdigit()]
        if len(numbers) == 2:
            self._on_step("placing pictures", *numbers)

    def flush(self) -> None: ...


def _umap(
    vectors: npt.NDArray[np.float32], options: MapOptions, on_step: OnStep
) -> npt.NDArray[np.float32]:
    # UMAP warns that TensorFlow is absent, that a seed means one job, and about its spectrum.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        umap = import_umap()
        made = umap.UMAP(
            n_neighbors=min(options.neighbours, len(vectors) - 1),
            metric="cosine",
            random_state=options.seed,
            n_jobs=1,
            init="spectral" if len(vectors) > options.neighbours + 3 else "random",
            tqdm_kwds={
                "disable": False,
                "file": _Epochs(on_step),
                "bar_format": "{n_fmt} {total_fmt}\n",
                "mininterval": 0.2,
            },
        )
        return np.asarray(made.fit_transform(vectors), np.float32)


def import_umap() -> Any:  # noqa: ANN401
    """umap, without its parametric variant, which imports TensorFlow or torch and is not used.

    Raises:
        MissingExtraError: umap-learn is not installed.
    """
    with hidden("umap.parametric_umap"):
        return needs("umap", extra="map")


def _pca(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    centred = vectors - vectors.mean(axis=0)
    # Eigenvectors of the covariance: its side is the dimensions, however many rows there are.
    covariance = centred.T.astype(np.float64) @ centred.astype(np.float64)
    _, axes = np.linalg.eigh(covariance)
    places = centred @ axes[:, :-3:-1]
    signs = np.sign(places[np.abs(places).argmax(axis=0), np.arange(places.shape[1])])
    flat = np.zeros((len(places), 2), np.float32)
    flat[:, : places.shape[1]] = places * np.where(signs == 0, 1, signs)
    return flat


def folders_of(ids: Sequence[str]) -> dict[str, str]:
    """The folder of each id as its label, as classes are laid out on disk."""
    return {id: id.rpartition("/")[0].rpartition("/")[2] for id in ids}


def write_map(
    features: FeatureSource,
    path: str | os.PathLike[str],
    *,
    pictures: Any = None,  # noqa: ANN401
    labels: Mapping[str, str] | None = None,
    options: MapOptions | None = None,
    progress: bool = False,
    on_step: OnStep | None = None,
) -> int:
    """Write the map of a feature set.

    Args:
        features: the vectors, as a file, as `read_features` gave them, or as a table of
            `nasnet.embed`; rows without one are left out.
        path: the HTML file.
        pictures: the source they were computed from, for small pictures; none are shown without.
        labels: id -> name of its group; ids that are not in it are `other`. Groups are found if
            none are given.
        options: how.
        progress: draw a bar a stage on standard error.
        on_step: told what is being done, and how far it is: (what, done, of how many); the last is
            None where nobody can know.

    Returns:
        How many pictures are on it.

    Raises:
        InputError: fewer than two pictures have a vector.
        MissingExtraError: umap-learn or scikit-learn is wanted and not installed.
        SourceError: the pictures' source cannot be opened.
        OutputError: the page cannot be written.
    """
    with stage_bars(progress) as draw:

        def tell(what: str, done: int, total: int | None) -> None:
            draw(what, done, total)
            if on_step is not None:
                on_step(what, done, total)

        return _write(
            as_features(features), Path(path), pictures, labels, options or MapOptions(), tell
        )


def _write(
    features: Features,
    path: Path,
    pictures: Any,  # noqa: ANN401
    labels: Mapping[str, str] | None,
    options: MapOptions,
    tell: OnStep,
) -> int:
    good = np.flatnonzero(np.isfinite(features.vectors).all(axis=1))
    if len(good) < 2:
        raise InputError(
            f"{len(good)} of {len(features.ids)} pictures have a vector: a map needs two"
        )
    vectors = features.vectors[good]
    ids = [features.ids[row] for row in good]
    tell(f"placing {len(ids):,} pictures by {options.method.upper()}", 0, None)
    places = project(vectors, options, tell)
    tell("finding groups", 0, None)
    names, group = _groups(vectors, ids, labels, options)
    examples = _examples(vectors, np.array(group), len(names))
    images: dict[str, str] = {}
    if pictures is not None and options.thumbnails:
        shown = {*spread_evenly(len(ids), options.thumbnails).tolist(), *examples}
        images = thumbnails(
            pictures,
            {ids[row] for row in shown},
            recipe=features.meta.recipe,
            side=options.thumbnail_size,
            source=options.source,
            quality=70,
            on_done=lambda done: tell("reading small pictures", done, len(shown)),
        )
    data = {
        "ids": [display_name(id) for id in ids],
        "x": np.round(places[:, 0].astype(float), 5).tolist(),
        "y": np.round(places[:, 1].astype(float), 5).tolist(),
        "group": group,
        "groups": [display_name(name) for name in names],
        "images": [images.get(id, "") for id in ids],
        "examples": examples,
        "words": [] if features.columns is None else words_of_rows(features.columns, good),
    }
    facts = f"{pictures_from(len(ids), features.meta.source)}, by {options.method.upper()}"
    if len(ids) < len(features.ids):
        facts += f"; {len(features.ids) - len(ids):,} more have no vector"
    if pictures is not None and options.thumbnails and len(images) < len(ids):
        facts += f"; small pictures of {len(images):,}"
    write_whole(path, _page(features.meta, data, facts).encode())
    return len(ids)


def _groups(
    vectors: npt.NDArray[np.float32],
    ids: Sequence[str],
    labels: Mapping[str, str] | None,
    options: MapOptions,
) -> tuple[list[str], list[int]]:
    """Names of groups, the largest first, and the group of each row."""
    if labels is None and options.clusters > 1 and len(ids) > options.clusters:
        cluster = needs("sklearn.cluster", extra="map")
        made = cluster.KMeans(options.clusters, n_init=4, random_state=options.seed)
        with small_fit(vectors.size):
            found = made.fit_predict(unit(vectors)).tolist()
        ranked = [n for n, _ in Counter(found).most_common()]  # the largest is the first
        return [f"group {n + 1}" for n in range(len(ranked))], [ranked.index(n) for n in found]
    known = labels or {}
    mine = [known.get(id) or "other" for id in ids]
    counts = Counter(mine)
    names = sorted(counts, key=lambda name: (name == "other", -counts[name], name))
    order = {name: n for n, name in enumerate(names)}
    return names, [order[name] for name in mine]


def _examples(
    vectors: npt.NDArray[np.float32], group: npt.NDArray[np.int64], count: int
) -> list[int]:
    """Of each group the row that is nearest to its middle."""
    found = []
    for number in range(count):
        rows = np.flatnonzero(group == number)
        mine = unit(vectors[rows])
        found.append(int(rows[(mine @ mine.mean(axis=0)).argmax()]))
    return found


def _page(meta: FeatureMeta, data: Mapping[str, object], facts: str) -> str:
    script = source("map.js")
    values = {
        "policy": policy(script),
        "style": "map.css",
        "title": "Map of pictures",
        "what": facts,
        "facts": weights_facts(meta),
        "warning": weights_warning(meta.weights_status),
        "data": data,
        "script": script,
    }
    return render("map.html", values)
