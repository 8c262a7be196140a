"""Pictures named in the ways of other systems: file URLs, backslashes, ids, columns of any type."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nasnet.errors import PictureError, SourceError
from nasnet.pictures.signature import SIGNATURE_BYTES
from nasnet.pictures.sources import DatasetOptions, open_dataset, open_examples, open_source
from tests.support.cli import invoke
from tests.support.labelled import PICTURES, failure

NAMES = ("a b.jpg", "100%.jpg", "é.jpg")


def read(source: Any) -> list[bytes]:
    return [item.read() for item in open_source(source)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        (tmp_path / name).write_bytes(PICTURES[number])
    return tmp_path


def test_file_urls_are_read_wherever_a_picture_is_named(photos: Path) -> None:
    urls = [(photos / name).as_uri() for name in NAMES]
    assert "%20" in urls[0]
    local = [url.replace("file://", "file://localhost") for url in urls]
    for named in (urls, local):
        (photos / "list.txt").write_text("\n".join(named))
        (photos / "t.csv").write_text("\n".join(["url,label", *(f"{one},x" for one in named)]))
        pq.write_table(pa.table({"url": named}), photos / "t.parquet")
        for source in ("list.txt", "t.csv", "t.parquet"):
            assert read(photos / source) == PICTURES[:3]
        assert read(named) == PICTURES[:3]
        assert [read(one) for one in named] == [[one] for one in PICTURES[:3]]
    data = open_examples(photos / "t.csv")[1]
    assert [one.read() for one in data] == PICTURES[:3]


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_a_file_url_may_name_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xe9.jpg"
    Path(os.fsdecode(path)).write_bytes(PICTURES[0])
    assert read([f"file://{quote(path)}"]) == PICTURES[:1]


@pytest.mark.skipif(os.sep != "/", reason="a backslash divides paths there")
def test_paths_with_backslashes_are_found(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.jpg").write_bytes(PICTURES[1])
    (tmp_path / "odd\\2.jpg").write_bytes(PICTURES[2])
    (tmp_path / "t.csv").write_text("path\ncat\\1.jpg\nodd\\2.jpg\ncat\\3.jpg\n")
    items = list(open_source(tmp_path / "t.csv"))
    assert [item.read() for item in items[:2]] == PICTURES[1:3]
    with pytest.raises(PictureError, match="no such file, neither with / for its backslashes"):
        items[2].read()


def test_ids_without_endings_are_found_beside_their_table(tmp_path: Path) -> None:
    for name in ("aa1.jpg", "aa2.PNG", "aa3.jpg", "aa3.png", "v1.2.jpg"):
        (tmp_path / name).write_bytes(PICTURES[0])
    (tmp_path / "t.csv").write_text("id,label\naa1,x\naa2,y\nv1.2,x\naa3,y\naa4,x\n")
    data = open_dataset(tmp_path / "t.csv", options=DatasetOptions(validation_fraction=0))
    assert [one.read() for one in data.train[:3]] == PICTURES[:1] * 3
    for one in data.train[3:]:  # two such files, or none
        with pytest.raises(PictureError, match="no such file"):
            one.read()
    assert open_source(tmp_path / "t.csv").count == 5
    (tmp_path / "t.csv").write_text("id,label\nb1,x\n")
    assert "name the column with the paths; it has id, label (ids serve" in failure(
        tmp_path / "t.csv"
    )


def test_columns_are_found_however_their_names_are_written(photos: Path) -> None:
    (photos / "t.csv").write_text(f"Label,Filename\nx,{NAMES[0]}\n")
    assert read(photos / "t.csv") == PICTURES[:1]
    pq.write_table(pa.table({"Image_Path": NAMES[:1]}), photos / "t.parquet")
    assert read(photos / "t.parquet") == PICTURES[:1]


PADDED = [data.ljust(max(map(len, PICTURES)), b"\0") for data in PICTURES[:3]]
COLUMNS: dict[str, tuple[pa.Array, list[bytes]]] = {
    "dictionary": (pa.array(PICTURES[:3]).dictionary_encode(), PICTURES[:3]),
    "fixed_size_binary": (pa.array(PADDED, pa.binary(len(PADDED[0]))), PADDED),
    "binary_view": (pa.array(PICTURES[:3], pa.binary_view()), PICTURES[:3]),
    "large_binary": (pa.array(PICTURES[:3], pa.large_binary()), PICTURES[:3]),
    "extension": (
        pa.ExtensionArray.from_storage(
            pa.opaque(pa.binary(), "jpeg", "us"), pa.array(PICTURES[:3])
        ),
        PICTURES[:3],
    ),
    "categories of paths": (pa.array(NAMES).dictionary_encode(), PICTURES[:3]),
    "string_view": (pa.array(NAMES, pa.string_view()), PICTURES[:3]),
}


@pytest.mark.parametrize("form", [".parquet", ".arrow", ".stream.arrow"])
@pytest.mark.parametrize("column", COLUMNS)
def test_columns_of_any_type_that_holds_bytes_or_text(column: str, form: str, photos: Path) -> None:
    values, expected = COLUMNS[column]
    hashes = pa.array([bytes([n]) * 32 for n in range(3)], pa.binary(32))  # no picture
    # The name of a feature set's column, and bytes that are no picture either.
    signatures = pa.array([bytes(SIGNATURE_BYTES)] * 3, pa.binary(SIGNATURE_BYTES))
    table = pa.table(
        {"path": values, "hash": hashes, "signature": signatures, "label": ["x", "y", "x"]}
    )
    path = photos / f"t{form}"
    if form == ".parquet":
        pq.write_table(table, path)
    else:
        begin = pa.ipc.new_stream if "stream" in form else pa.ipc.new_file
        with begin(path, table.schema) as writer:
            writer.write_table(table)
    assert read(path) == expected
    assert [one.read() for one in open_examples(path)[1]] == expected


def test_archives_within_an_archive_are_told(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for name in ("train.tar", "val.tar.gz"):
            member = tarfile.TarInfo(name)
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(SourceError, match=r"t\.tar: no pictures .*1 \.gz, 1 \.tar; unpack what it"):
        list(open_source(tmp_path / "t.tar"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"7z\xbc\xaf\x27\x1c" + bytes(30), "a 7z archive is not read: unpack it first"),
        (b"Rar!\x1a\x07\x01" + bytes(30), "a RAR archive is not read: unpack it first"),
        (b"\x28\xb5\x2f\xfd" + bytes(30), "a file compressed by zstd is not read: unpack it"),
        (gzip.compress(PICTURES[0]), "a compressed file: unpack it, or call it .tar.gz if"),
    ],
)
def test_archives_that_are_not_read_are_told(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "photos.archive"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=f"photos.archive: {message}"):
        open_source(path)
    assert message in failure(path)


def test_a_table_without_a_header_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("1.jpg,cat\n2.jpg,dog\n")
    assert "put a header above it, such as path,label" in failure(tmp_path / "t.csv")
    with pytest.raises(SourceError, match="put a header above it"):
        open_source(tmp_path / "t.csv")


def test_a_name_that_begins_with_a_hyphen_follows_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ("-o", "f.npy", "--weights", "seeded:7", "--size", "32")
    refused = invoke("embed", "-dash.jpg", *flags)
    assert refused.exit_code == 2
    assert "a file of that name is ./-dash.jpg" in refused.stderr
    for arguments in (("--", "-dash.jpg"), ("./-dash.jpg",)):
        refused = invoke("embed", *flags, *arguments)
        assert "-dash.jpg: no such file or folder" in refused.stderr
