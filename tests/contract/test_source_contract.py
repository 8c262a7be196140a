"""Every kind of source must pass this: the same pictures, their ids in order, lazily, twice."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest

from nasnet.source import SourceOptions, open_source
from tests.pictures import jpeg

NAMES = ["a.jpg", "b/c.jpg", "b/d.jpg", "e f.jpg", "é.jpg"]
CONTENT = {name: jpeg(20, 24, seed=index) for index, name in enumerate(NAMES)}


def folder(path: Path) -> Path:
    for name, data in CONTENT.items():
        file = path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return path / "photos"


def as_list(path: Path) -> Path:
    root = folder(path)
    (root / "list.txt").write_text("# mine\n" + "\n".join(NAMES) + "\n\n", encoding="utf-8")
    return root / "list.txt"


def as_tar(path: Path, mode: str = "w") -> Path:
    file = path / ("photos.tar.gz" if mode == "w:gz" else "photos.tar")
    with tarfile.open(file, mode) as tar:  # type: ignore[call-overload]
        for name, data in CONTENT.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file


def as_zip(path: Path) -> Path:
    with zipfile.ZipFile(path / "photos.zip", "w") as archive:
        for name, data in CONTENT.items():
            archive.writestr(name, data)
    return path / "photos.zip"


def table() -> pyarrow.Table:
    return pyarrow.table({"name": NAMES, "image": list(CONTENT.values()), "n": range(5)})


def as_parquet(path: Path) -> Path:
    pyarrow.parquet.write_table(table(), path / "t.parquet", row_group_size=2)
    return path / "t.parquet"


def as_feather(path: Path) -> Path:
    pyarrow.feather.write_feather(table(), path / "t.feather")
    return path / "t.feather"


def as_huggingface(path: Path) -> Path:
    images = [{"bytes": data, "path": name} for name, data in CONTENT.items()]
    pyarrow.parquet.write_table(pyarrow.table({"image": images}), path / "hf.parquet")
    return path / "hf.parquet"


BY_ID = SourceOptions(id_column="name")
KINDS: dict[str, tuple[Callable[[Path], Any], SourceOptions]] = {
    "folder": (folder, SourceOptions()),
    "list": (as_list, SourceOptions()),
    "tar": (as_tar, SourceOptions()),
    "tar.gz": (lambda path: as_tar(path, "w:gz"), SourceOptions()),
    "zip": (as_zip, SourceOptions()),
    "parquet": (as_parquet, BY_ID),
    "feather": (as_feather, BY_ID),
    "hugging face": (as_huggingface, SourceOptions()),
    "pairs": (lambda path: list(CONTENT.items()), SourceOptions()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_items_come_in_order_with_ids_and_bytes(kind: str, tmp_path: Path) -> None:
    make, options = KINDS[kind]
    source = open_source(make(tmp_path), options=options)
    for _ in range(2):  # a source can be begun anew
        found = [(item.id, bytes(item.read())) for item in source]
        assert [id for id, _ in found] == NAMES
        assert dict(found) == CONTENT
    assert source.count in (None, len(NAMES))


@pytest.mark.parametrize("kind", KINDS)
def test_shards_share_a_source_out(kind: str, tmp_path: Path) -> None:
    make, options = KINDS[kind]
    spec = make(tmp_path)
    parts = []
    for index in range(2):
        shard = SourceOptions(id_column=options.id_column, shard=(index, 2))
        source = open_source(spec, options=shard)
        parts.append([item.id for item in source])
        assert source.count in (None, len(parts[-1]))
    assert parts == [NAMES[0::2], NAMES[1::2]]


def test_reading_is_left_to_the_reader(tmp_path: Path) -> None:
    """Nothing of a folder's content is read while it is listed."""
    root = folder(tmp_path)
    items = list(open_source(root))
    (root / "a.jpg").write_bytes(b"changed")
    assert items[0].read() == b"changed"
    assert os.fspath(root) in open_source(root).name


def test_python_pictures_of_any_kind(tmp_path: Path) -> None:
    root = folder(tmp_path)
    array = np.zeros((4, 4, 3), np.uint8)
    items = list(open_source([root / "a.jpg", CONTENT["a.jpg"], array, ("mine", array)]))
    assert [item.id for item in items] == [str(root / "a.jpg"), "1", "2", "mine"]
    assert items[0].read() == items[1].read() == CONTENT["a.jpg"]
    assert items[2].read() is array
    generated = open_source(one for one in [array])
    assert (generated.count, len(list(generated))) == (None, 1)
