from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from nasnet.errors import InputError, PictureError, SourceError
from nasnet.source import SourceOptions, open_source
from tests.http_server import HttpServer
from tests.pictures import jpeg


def test_a_folder_gives_pictures_only_unless_all_files_are_asked_for(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.jpg", ".git/x.jpg", "sub/c.webp"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
    assert [item.id for item in open_source(tmp_path)] == ["a.png", "b.JPG", "sub/c.webp"]
    everything = open_source(tmp_path, options=SourceOptions(all_files=True))
    assert [item.id for item in everything] == ["a.png", "b.JPG", "notes.txt", "sub/c.webp"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_that_loop_end(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    assert [item.id for item in open_source(tmp_path)] == ["a.jpg"]


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_names_that_are_no_utf8_survive(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / name).write_bytes(b"x")
    (item,) = open_source(tmp_path)
    assert item.id == "caf\\xe9.jpg"
    assert item.read() == b"x"


def test_globs_find_files_in_order(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.jpg", "c.txt", "deep/er/d.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [Path(item.id).name for item in open_source(f"{tmp_path}/**/*.jpg")]
    assert found == ["a.jpg", "b.jpg", "d.jpg"]
    with pytest.raises(SourceError, match="no file has such a name"):
        open_source(f"{tmp_path}/*.tif")


def test_a_list_on_standard_input_may_have_nul_bytes_between(tmp_path: Path) -> None:
    (tmp_path / "a\nb.jpg").write_bytes(b"x")
    code = "from nasnet.source import open_source; print([i.read() for i in open_source('-')])"
    out = subprocess.run(
        [sys.executable, "-c", code],
        input=b"a\nb.jpg\0a\nb.jpg\0",
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert out.stdout == b"[b'x', b'x']\n"


def test_what_cannot_be_read_is_a_reason_not_an_end(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("gone.jpg\nfolder.jpg\nhttp://127.0.0.1:9/x.jpg\n")
    (tmp_path / "folder.jpg").mkdir()
    reasons = []
    for item in open_source(tmp_path / "list.txt"):
        with pytest.raises(PictureError) as caught:
            item.read()
        reasons.append(str(caught.value))
    assert reasons[:2] == ["no such file or directory", "is a directory"]
    assert reasons[2].startswith("cannot be fetched")


def test_urls_are_fetched(tmp_path: Path) -> None:
    with HttpServer() as server:
        server.put("/a.jpg", jpeg())
        (item,) = open_source(f"{server.url}/a.jpg")
        assert item.id == f"{server.url}/a.jpg"
        assert item.read() == jpeg()
        (missing,) = open_source(f"{server.url}/b.jpg")
        with pytest.raises(PictureError, match=r"cannot be fetched: .*b\.jpg"):
            missing.read()


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path / "nowhere",
        lambda path: path,
        lambda path: (path / "x.txt").write_text("# nothing\n") and path / "x.txt",
        lambda path: [],
        lambda path: b"bytes",
        lambda path: 7,
    ],
    ids=["missing", "empty folder", "empty list", "empty python list", "bytes", "number"],
)
def test_a_source_without_pictures_is_an_error(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    with pytest.raises(SourceError):
        open_source(make(tmp_path))


def test_links_and_devices_in_a_tar_are_rows_with_a_reason(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, kind in (("link.jpg", tarfile.SYMTYPE), ("dev.jpg", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    items = list(open_source(tmp_path / "x.tar"))
    assert [item.id for item in items] == ["link.jpg", "dev.jpg"]
    for item in items:
        with pytest.raises(PictureError, match="not a regular file"):
            item.read()


def test_a_cut_tar_ends_the_run_after_its_whole_members(tmp_path: Path) -> None:
    data = jpeg(200, 200)
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for index in range(3):
            info = tarfile.TarInfo(f"{index}.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    whole = (tmp_path / "x.tar").read_bytes()
    (tmp_path / "x.tar").write_bytes(whole[: len(data) + 2000])
    items = iter(open_source(tmp_path / "x.tar"))
    assert next(items).id == "0.jpg"
    with pytest.raises(SourceError, match=r"x\.tar: the archive is damaged"):
        list(items)


def test_a_damaged_member_of_a_zip_is_one_bad_row(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.jpg", jpeg(seed=1))
        archive.writestr("b.jpg", jpeg(seed=2))
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[200] ^= 255
    (tmp_path / "x.zip").write_bytes(data)
    first, second = open_source(tmp_path / "x.zip")
    with pytest.raises(PictureError, match="damaged in the archive"):
        first.read()
    assert second.read() == jpeg(seed=2)
    (tmp_path / "y.zip").write_bytes(b"PK nonsense")
    with pytest.raises(SourceError, match="the archive is damaged"):
        open_source(tmp_path / "y.zip")


def test_tables_without_pictures_say_what_they_have(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"n": [1]}), tmp_path / "n.parquet")
    with pytest.raises(SourceError, match=r"encoded pictures \(binary\); it has n \(int64\)"):
        open_source(tmp_path / "n.parquet")
    images = pyarrow.table(
        {"one": [b"x"], "two": [None]},
        schema=pyarrow.schema({"one": pyarrow.binary(), "two": pyarrow.binary()}),
    )
    pyarrow.parquet.write_table(images, tmp_path / "i.parquet")
    (item,) = open_source(tmp_path / "i.parquet", options=SourceOptions(column="two"))
    with pytest.raises(PictureError, match="the row has no picture"):
        item.read()
    with pytest.raises(SourceError, match="no column 'id'; it has one, two"):
        open_source(tmp_path / "i.parquet", options=SourceOptions(id_column="id"))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(SourceError, match="not a readable table"):
        open_source(tmp_path / "bad.parquet")


def test_samples_are_photographs(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    source = open_source("samples:")
    assert "astronaut.png" in [item.id for item in source]
    assert source.count is not None
    assert source.count >= 8


def test_a_shard_must_exist() -> None:
    with pytest.raises(InputError, match="shard 2 of 2 does not exist"):
        SourceOptions(shard=(2, 2))
