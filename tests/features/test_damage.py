"""One wrong bit in what we keep: it is said, or it does no harm."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

import nasnet
from nasnet.errors import OutputError
from nasnet.features.store import SinkOptions, open_sink
from tests.support.sink_rows import DIMENSIONS, META, rows


def flips(files: list[Path], seed: str, count: int = 200) -> Iterator[str]:
    """One bit of the files is wrong, each time another one."""
    chance = random.Random(seed)
    whole = {file: file.read_bytes() for file in files}
    for _ in range(count):
        file = chance.choices(files, [len(whole[file]) for file in files])[0]
        place, bit = chance.randrange(len(whole[file])), chance.randrange(8)
        damaged = bytearray(whole[file])
        damaged[place] ^= 1 << bit
        file.write_bytes(damaged)
        yield f"bit {bit} of byte {place} of {file.name}"
        file.write_bytes(whole[file])


def harm(files: list[Path], read: Callable[[], object], folder: Path, seed: str) -> Counter[str]:
    """How often it was said and how often it did no harm; nothing else may be."""
    right = read()
    told: Counter[str] = Counter()
    for where in flips(files, seed):
        try:
            found, said = read(), ""
        except OutputError as error:
            found, said = None, str(error)
        if found is None:
            assert str(folder) in said, where
        else:
            assert found == right, where
        told["said" if found is None else "no harm"] += 1
    return told


def feature_set(output: Path) -> None:
    sink = open_sink(output, meta=META, dimensions=DIMENSIONS, options=SinkOptions(part_rows=100))
    sink.write(rows(0, 300))
    sink.finish()


def everything(path: Path) -> object:
    found = nasnet.read_features(path)
    return found.ids, found.vectors.tobytes(), found.errors, asdict(found.meta)


def test_a_wrong_bit_of_a_feature_set_is_never_read_as_other_vectors(tmp_path: Path) -> None:
    output = tmp_path / "f.parquet"
    feature_set(output)
    told = harm([output], lambda: everything(output), tmp_path, "set")
    assert told["said"] > 150


def test_a_damaged_row_group_is_named_wherever_a_set_is_read(tmp_path: Path) -> None:
    import pyarrow.parquet

    output = tmp_path / "f.parquet"
    sink = open_sink(output, meta=META, dimensions=DIMENSIONS)
    for start in range(0, 9000, 3000):  # more than one row group
        sink.write(rows(start, start + 3000))
    sink.finish()
    page = pyarrow.parquet.read_metadata(output).row_group(1).column(1)
    data = bytearray(output.read_bytes())
    data[page.data_page_offset + page.total_compressed_size - 5] ^= 1
    output.write_bytes(data)
    with pytest.raises(OutputError, match=r"f\.parquet: .*row group 1 is damaged"):
        nasnet.read_features(output)
    with pytest.raises(OutputError, match=r"f\.parquet: .*row group 1 is damaged"):
        nasnet.merge([output], tmp_path / "g.parquet")
    assert not (tmp_path / "g.parquet").exists()
