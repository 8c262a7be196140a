"""The approximate index: faiss' inverted lists, opened so wide that recall is what is promised.

Needs faiss (extra `search`).
"""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import OutputError, needs
from nasnet.features.index.layout import Approximate, Contents, checked
from nasnet.features.index.neighbours import nearest

Floats = npt.NDArray[np.float32]

_RECALL = 0.99  # recall@10 against exact search that a search is opened for
_ASKED = 256  # rows it is measured with
_A_LIST = 39  # vectors a list that faiss wants to train with, at the least
_TRAINED = 256  # vectors a list that it trains with, at the most


def build_approximate(folder: Path, parts: Sequence[Floats]) -> Approximate:
    """Make a faiss index over all rows, and measure how far a search has to look.

    Lists: 4 times the square root of the rows, as faiss advises below a million.

    Raises:
        MissingExtraError: faiss is not installed.
    """
    faiss = needs("faiss", extra="search")
    rows, dimensions = sum(map(len, parts)), parts[0].shape[1]
    lists = max(1, min(int(4 * math.sqrt(rows)), rows // _A_LIST))
    flat = faiss.IndexFlatIP(dimensions)
    index = faiss.IndexIVFFlat(flat, dimensions, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = 1
    index.train(_some(parts, lists * _TRAINED))
    for part in parts:
        for start in range(0, len(part), 65_536):
            index.add(np.ascontiguousarray(part[start : start + 65_536]))
    probes, recall = _opened_for(index, parts, lists)
    name = f"lists-{uuid.uuid4().hex[:8]}.faiss"
    # Through Python's own file: faiss' writer passes over what a full disk says at the end.
    with (folder / name).open("wb") as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
        file.flush()
        os.fsync(file.fileno())
    return Approximate(file=name, rows=rows, probes=probes, recall=recall)


def _some(parts: Sequence[Floats], count: int) -> Floats:
    """At most so many rows, evenly spread."""
    rows = sum(map(len, parts))
    step = max(1, -(-rows // count))
    return np.concatenate([np.asarray(part[::step]) for part in parts])


def _opened_for(index: Any, parts: Sequence[Floats], lists: int) -> tuple[int, float]:  # noqa: ANN401
    """How many lists to look into for the recall that is wanted, and what it is then."""
    queries = _some(parts, _ASKED)
    count = min(10, sum(map(len, parts)))
    wanted, probes = _exact(parts, queries, count), 1
    while True:
        index.nprobe = probes
        found = index.search(queries, count)[1]
        hits = [len(np.intersect1d(a, b)) for a, b in zip(found, wanted, strict=True)]
        recall = float(np.sum(hits)) / wanted.size
        if recall >= _RECALL or probes >= lists:
            return probes, recall
        probes = min(2 * probes, lists)


def _exact(parts: Sequence[Floats], queries: Floats, count: int) -> npt.NDArray[np.int64]:
    rows = np.zeros((len(queries), 0), np.int64)
    cosines = np.zeros((len(queries), 0), np.float32)
    begin = 0
    for part in parts:
        more, values = nearest(part, queries, count)
        rows = np.concatenate([rows, more + begin], axis=1)
        cosines = np.concatenate([cosines, values], axis=1)
        begin += len(part)
    best = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(rows, best, axis=1)


def open_approximate(folder: Path, contents: Contents, near: Approximate) -> Any:  # noqa: ANN401
    """Open a faiss index, read or mapped from its file.

    Raises:
        MissingExtraError: faiss is not installed.
        OutputError: it is missing or damaged.
    """
    faiss = needs("faiss", extra="search")
    checked(folder / near.file, contents)
    try:
        flag = faiss.IO_FLAG_MMAP if contents.mapped else 0
        index = faiss.read_index(str(folder / near.file), flag)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0]
        raise OutputError(f"{folder / near.file}: not readable: {first}") from None
    index.nprobe = near.probes
    return index
