"""Planted copies: how many are found, and how many pairs that are none, by kind of change.

`python -m benchmarks.dedup PHOTOS`: photos of the source, copies of some planted among them, all
embedded with `builtin`. Beside `nasnet dedup` stand what is told by the cosine alone, by a
difference hash and by a perceptual hash of 64 bits. Pairs that are not planted are printed: look at
them, a large collection has copies of its own; `--known A,B` names such pairs.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

import nasnet
from benchmarks.planted import CHANGES, plant
from nasnet.features.index import LEVELS
from nasnet.features.index.neighbours import pairs_above
from nasnet.features.reduction import unit
from nasnet.features.signatures import Signed, read_signed

Pairs = set[frozenset[str]]
_COSINES = (0.97, 0.99)
_BITS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("photos", help="any source of nasnet embed")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--copies", type=int, default=100, help="of each kind of change")
    parser.add_argument("--known", nargs="*", default=[], help="pairs that are copies: A,B")
    parser.add_argument(
        "--rows", type=int, default=100_000, help="of made signatures, for the time"
    )
    parser.add_argument("--folder", type=Path, help="keep pictures and vectors here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        planted, features = folder / "planted", folder / "planted.parquet"
        if not planted.exists():
            plant(arguments.photos, planted, photos=arguments.count, copies=arguments.copies)
        if not features.exists():
            nasnet.embed_to_file(planted, features, weights="builtin")
        _compare(planted, features, {_pair(*one.split(",")) for one in arguments.known})
    _time(arguments.rows)


def _pair(one: str, other: str) -> frozenset[str]:
    return frozenset((one, other))


def _compare(planted: Path, features: Path, known: Pairs) -> None:
    found: dict[str, Pairs] = {}
    for level in reversed(LEVELS):
        found[f"dedup, {level}"] = {
            _pair(group.stays.id, copy.id)
            for group in nasnet.near_duplicates(features, level=level)
            for copy in group.copies
        }
    sets = nasnet.read_features(features)
    for cosine in _COSINES:
        found[f"cosine {cosine}"] = {
            _pair(sets.ids[a], sets.ids[b])
            for block in pairs_above(unit(sets.vectors), cosine)
            for a, b in zip(*block[:2], strict=True)
        }
    for name, bits in _hashes(planted, sets.ids).items():
        signs = unit(2 * np.unpackbits(bits, axis=1).astype(np.float32) - 1)
        found[f"{name}, {_BITS} bits"] = {
            _pair(sets.ids[a], sets.ids[b])
            for block in pairs_above(signs, 1 - 2 * _BITS / 64 - 1e-6)
            for a, b in zip(*block[:2], strict=True)
        }
    print(f"{len(sets.ids):,} pictures\n")
    print(f"| kind | {' | '.join(found)} |")
    print("|---|" + "---|" * len(found))
    copies = [id for id in sets.ids if ".copy-" in id]
    originals = {id[:6]: id for id in sets.ids if ".copy-" not in id}
    for number, kind in enumerate(CHANGES):
        mine = [id for id in copies if f".copy-{number:02d}" in id]
        shares = [
            np.mean([_pair(id, originals[id[:6]]) in pairs for id in mine])
            for pairs in found.values()
        ]
        print(f"| {kind} | {' | '.join(f'{share:.2f}' for share in shares)} |")
    stems = {frozenset(name[:6] for name in pair) for pair in known}
    wrong = {name: _wrong(pairs, stems) for name, pairs in found.items()}
    print(f"| pairs that are no copies | {' | '.join(str(len(one)) for one in wrong.values())} |")
    right = [1 - len(wrong[name]) / max(len(pairs), 1) for name, pairs in found.items()]
    print(f"| precision | {' | '.join(f'{share:.3f}' for share in right)} |")
    for pair in sorted(map(sorted, wrong["dedup, similar"])):
        print("not planted:", *pair)


def _wrong(pairs: Pairs, known: Collection[frozenset[str]]) -> list[frozenset[str]]:
    stems = [(pair, frozenset(name[:6] for name in pair)) for pair in pairs]
    return [pair for pair, stem in stems if len(stem) > 1 and stem not in known]


def _hashes(planted: Path, ids: list[str]) -> dict[str, npt.NDArray[np.uint8]]:
    """Hashes as the package `imagehash` makes them, uint8 [n, 8] each."""
    rows: dict[str, list[npt.NDArray[np.uint8]]] = {"dHash": [], "pHash": []}
    place = np.arange(32)
    cosines = np.cos(np.pi * (2 * place + 1) * place[:, None] / 64)
    for id in ids:
        grey = Image.open(planted / id).convert("L")
        small = np.asarray(grey.resize((9, 8), Image.Resampling.LANCZOS), np.int16)
        rows["dHash"].append(np.packbits(small[:, 1:] > small[:, :-1]))
        larger = np.asarray(grey.resize((32, 32), Image.Resampling.LANCZOS), np.float64)
        low = (cosines @ larger @ cosines.T)[:8, :8]
        rows["pHash"].append(np.packbits(low > np.median(low)))
    return {name: np.stack(some) for name, some in rows.items()}


def _time(rows: int) -> None:
    """Time and memory for many pictures: smooth noise, a tenth of it copies of another tenth."""
    random = np.random.default_rng(0)
    coarse = random.standard_normal((rows, 9, 9)).astype(np.float32)
    fine = np.maximum(0, 1 - np.abs(np.linspace(0, 8, 32)[:, None] - np.arange(9))).astype("f4")
    greys = np.empty((rows, 32, 32), np.uint8)
    for start in range(0, rows, 4096):
        some = fine @ coarse[start : start + 4096] @ fine.T
        low, high = some.min(axis=(1, 2), keepdims=True), some.max(axis=(1, 2), keepdims=True)
        greys[start : start + 4096] = np.rint((some - low) / (high - low) * 15)
    tenth = rows // 10
    greys[:tenth] = greys[tenth : 2 * tenth]
    packed = (greys[:, :, ::2] << 4 | greys[:, :, 1::2]).reshape(rows, -1)
    sums = random.integers(0, 256, (rows, 8), np.uint8)
    signed = Signed(
        ids=[f"{row:07d}" for row in range(rows)],
        sizes=np.full((rows, 3), (640, 480, 100_000), np.int64),
        signatures=np.concatenate([sums, packed], axis=1),
        meta=read_signed(nasnet.embed(["samples:"], weights="seeded:1")).meta,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    groups = nasnet.near_duplicates(signed)
    taken = time.perf_counter() - begun
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"\n{rows:,} rows: {taken:.0f} s, {more:,.0f} MB more, {len(groups):,} groups")


if __name__ == "__main__":
    main()
