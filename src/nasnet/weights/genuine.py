"""Is it genuine? Weights held against the fingerprints of the published, trained ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources

import numpy as np
import numpy.typing as npt

from nasnet.network.build import build_plan
from nasnet.network.code import decode

Table = Mapping[str, tuple[int, tuple[int, ...]]]  # TF-Slim name -> CRC-32C and shape

HEAD = ("final_layer/FC/weights", "final_layer/FC/biases")

# Preset -> the file with one CRC-32C (Castagnoli, unmasked) per tensor of the published weights,
# in the order of the sorted TF-Slim names, over the little-endian float32 bytes; the classifier
# without its background class, as Keras publishes it.
_TABLES: Mapping[str, str] = {"mobile": "nasnet_mobile_crc32c.npy"}
_PUBLISHED_CLASSES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a comparison with the published weights found.

    Attributes:
        status: `genuine`, `modified`, `incomplete`, or `unknown` where no fingerprints are known.
        matched: tensors of the feature extractor that are the published ones, bit for bit.
        total: tensors of the feature extractor.
        head_matched: tensors of the classifier that match, of `head_total`.
        head_total: 2, or 0 where the weights have no classifier.
        missing: tensors of the feature extractor that are not there.
    """

    status: str
    matched: int
    total: int
    head_matched: int
    head_total: int
    missing: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """The plain word for people."""
        words = {"modified": "untrained or modified", "unknown": "no fingerprints to compare with"}
        return words.get(self.status, self.status)


def judge(
    arrays: Mapping[str, npt.NDArray[np.float32]], *, spec: str, table: Table | None = None
) -> Verdict:
    """Compare weights with the published ones.

    Arrays may be missing; `table` are the fingerprints to compare with, those of the published
    weights of the preset `spec` if not given.
    """
    table = published_table(spec) if table is None else table
    plan = build_plan(decode(spec), num_classes=0)
    missing = tuple(name for name in plan.parameters if name not in arrays)
    matched = count_matches(plan.parameters, arrays.get, table)
    if missing:
        status = "incomplete"
    elif not table:
        status = "unknown"
    else:
        status = "genuine" if matched == len(plan.parameters) else "modified"
    return Verdict(
        status=status,
        matched=matched,
        total=len(plan.parameters),
        head_matched=count_matches(HEAD, arrays.get, table),
        head_total=sum(name in arrays for name in HEAD),
        missing=missing,
    )


def count_matches(
    names: Iterable[str],
    read: Callable[[str], npt.NDArray[np.float32] | None],
    table: Table,
) -> int:
    """How many of the named tensors are the published ones.

    `read` gives a tensor by its TF-Slim name, or None where there is none.
    """
    import google_crc32c

    matches = 0
    for name in names:
        array = read(name)
        if array is None or name not in table:
            continue
        if name in HEAD and array.shape[-1] == _PUBLISHED_CLASSES + 1:
            array = array[..., 1:]
        crc, shape = table[name]
        if array.shape == shape:
            data = np.ascontiguousarray(array, dtype="<f4").tobytes()
            matches += google_crc32c.value(data) == crc
    return matches


def published_table(spec: str) -> Table:
    """The fingerprints of a preset's published weights; empty where none are known."""
    if spec not in _TABLES:
        return {}
    plan = build_plan(decode(spec), num_classes=_PUBLISHED_CLASSES)
    with resources.as_file(resources.files("nasnet") / "data" / _TABLES[spec]) as path:
        sums = np.load(path, allow_pickle=False)
    names = sorted(plan.parameters)
    assert sums.shape == (len(names),), f"{_TABLES[spec]} does not fit the plan"
    return {name: (int(crc), plan.parameters[name]) for name, crc in zip(names, sums, strict=True)}
