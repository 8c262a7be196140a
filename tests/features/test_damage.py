"""One wrong bit in what we keep: it is said, or it does no harm."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import nasnet
from nasnet.errors import OutputError
from nasnet.features.index import Kind
from nasnet.features.signatures import read_signed
from nasnet.features.store import SinkOptions, open_sink
from tests.support.feature_sets import features
from tests.support.sink_rows import DIMENSIONS, META, rows
from tests.support.small_disk import on_small_disk


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
    signed = read_signed(path)
    copies = signed.sizes.tobytes(), signed.signatures.tobytes()
    return found.ids, found.vectors.tobytes(), found.errors, asdict(found.meta), copies


@pytest.mark.parametrize("suffix", [".parquet", ".npy"])
def test_a_wrong_bit_of_a_feature_set_is_never_read_as_other_vectors(
    suffix: str, tmp_path: Path
) -> None:
    output = tmp_path / f"f{suffix}"
    feature_set(output)
    told = harm(sorted(tmp_path.iterdir()), lambda: everything(output), tmp_path, suffix)
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


@pytest.mark.parametrize("kind", ["exact", "ivf"])
def test_a_wrong_bit_of_an_index_is_never_searched(kind: Kind, tmp_path: Path) -> None:
    if kind == "ivf":
        pytest.importorskip("faiss")
    folder = tmp_path / "i"
    nasnet.build_index(features(400), folder, kind=kind)
    query = features(3, seed=5).vectors

    def found() -> object:
        index = nasnet.open_index(folder)
        nearest = [values.tobytes() for values in index.nearest(query)]
        every = index.vectors(np.arange(len(index))).tobytes()
        return index.ids, every, nearest, asdict(index.meta)

    assert harm(sorted(folder.iterdir()), found, folder, kind)["said"] == 200


def test_an_index_that_is_written_over_in_place_is_still_searched(tmp_path: Path) -> None:
    nasnet.build_index(features(2000), tmp_path / "i")
    index = nasnet.open_index(tmp_path / "i")
    for file in (tmp_path / "i").iterdir():
        os.truncate(file, 10)  # what `cp` does first; a map of the file would end the process
    assert index.search(features(2000).vectors[-1:], 1)[0] == [["001999.jpg"]]


def test_an_index_that_is_replaced_meanwhile_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "i"
    sets = [features(50), features(60, seed=1)]
    nasnet.build_index(sets[0], folder)
    ended = threading.Event()

    def replace_it() -> None:
        for number in range(15):
            nasnet.build_index(sets[number % 2], folder, overwrite=True)
        ended.set()

    writer = threading.Thread(target=replace_it)
    writer.start()
    while not ended.is_set():
        assert len(nasnet.open_index(folder)) in (50, 60)
    writer.join()


def test_overwriting_an_index_leaves_what_others_keep_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "i"
    nasnet.build_index(features(10), folder)
    (folder / "notes.txt").write_text("mine")
    nasnet.build_index(features(12), folder, overwrite=True)
    assert len(nasnet.open_index(folder)) == 12
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".npy", ".parquet", ".txt"]


FULL = """
import sys
from pathlib import Path
import nasnet
from tests.support.feature_sets import features
few, many = features(20, dimensions=64), features(8000, dimensions=64)
place = Path(sys.argv[1])
nasnet.build_index(few, place / "there", kind=sys.argv[2])
before = sorted(path.name for path in (place / "there").iterdir())
for write in (
    lambda: nasnet.build_index(many, place / "new", kind=sys.argv[2]),
    lambda: nasnet.build_index(many, place / "there", overwrite=True, kind=sys.argv[2]),
    lambda: nasnet.add_to_index(place / "there", many),
):
    try:
        write()
    except nasnet.NasnetError as error:
        print(error)
assert [path.name for path in place.iterdir()] == ["there"]
assert sorted(path.name for path in (place / "there").iterdir()) == before
assert len(nasnet.open_index(place / "there")) == 20
"""


@pytest.mark.parametrize(("kind", "room"), [("exact", "1m"), ("ivf", "3m")])
def test_a_full_disk_is_one_line_and_the_old_index_stays(
    kind: str, room: str, tmp_path: Path
) -> None:
    if kind == "ivf":
        pytest.importorskip("faiss")
    done = on_small_disk(room, tmp_path, FULL, kind)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cannot be written: No space left on device") == 3
