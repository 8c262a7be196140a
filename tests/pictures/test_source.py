"""Sources where they are odd: names, links, damage, far files, and what Python has."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from nasnet.errors import InputError, MissingExtraError, PictureError, SourceError
from nasnet.pictures.sources import (
    Item,
    SourceOptions,
    archive as archive_room,
    files as files_room,
    open_source,
    path_of_id,
)
from nasnet.pictures.sources.item import id_of_path
from tests.support.http_server import Answer, HttpServer

POSIX = pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")


def ids(spec: Any, **options: Any) -> list[str]:
    return [item.id for item in open_source(spec, options=SourceOptions(**options))]


def reason(item: Item) -> str:
    with pytest.raises(PictureError) as found:
        item.read()
    return str(found.value)


def only(spec: Any, **options: Any) -> Item:
    (item,) = open_source(spec, options=SourceOptions(**options))
    return item


# Names


@POSIX
@settings(deadline=None)
@given(st.lists(st.sampled_from([b"\\", b"x", b"5c", b"ff", b"\xff", b"\xc3\xa4", b"a"])))
def test_ids_of_paths_are_valid_text_and_can_be_turned_back(pieces: list[bytes]) -> None:
    raw = b"".join(pieces)
    id = id_of_path(raw)
    id.encode("utf-8")
    assert os.fsencode(path_of_id(id)) == raw


@POSIX
@settings(deadline=None)
@given(st.binary(max_size=20), st.binary(max_size=20))
def test_different_paths_have_different_ids(one: bytes, other: bytes) -> None:
    assert (id_of_path(one) == id_of_path(other)) == (one == other)


def test_plain_names_are_their_own_ids() -> None:
    for name in ("a b/ä.png", r"c:\photos\new.png", "%41.png", "x" * 300):
        assert id_of_path(name) == name
    assert id_of_path("half \ud800") == r"half \ud800"


@POSIX
@pytest.mark.parametrize("shape", ["folder", "glob", "list", "tar", "one"])
def test_a_name_that_is_not_utf8_is_still_read(shape: str, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    try:
        path.write_bytes(b"data")
    except OSError:
        pytest.skip("this file system holds UTF-8 names only")
    spec: Any = tmp_path
    if shape == "glob":
        spec = f"{tmp_path}/*"
    elif shape == "list":
        spec = tmp_path / "list.txt"
        spec.write_bytes(b"caf\xe9.png\n")
    elif shape == "tar":
        spec = tmp_path / "t.tar"
        with tarfile.open(spec, "w", format=tarfile.GNU_FORMAT) as file:
            file.add(path, "caf\udce9.png")
    elif shape == "one":
        spec = str(path)
    item = only(spec)
    assert item.id.endswith(r"caf\xe9.png")
    assert item.read() == b"data"


# Folders


def test_folder_order_is_that_of_whole_paths_in_bytes(tmp_path: Path) -> None:
    names = ["a/b.png", "a-b.png", "a.png", "a0/x.png", "a/b/c.png", "a/b-/d.png", "Z.png", "é.png"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1")
    assert ids(tmp_path) == sorted(names, key=os.fsencode)


def test_hidden_files_and_other_files_are_passed_over(tmp_path: Path) -> None:
    for name in (".hidden/a.png", ".b.png", "c.txt", "d.JPG", "e"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"1")
    assert ids(tmp_path) == ["d.JPG"]
    assert ids(tmp_path, all_files=True) == ["c.txt", "d.JPG", "e"]


@POSIX
def test_links_are_followed_but_lead_nowhere_twice(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").write_bytes(b"1")
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    (tmp_path / "also").symlink_to(tmp_path / "real")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self.png").symlink_to("self.png")
    items = {item.id: item for item in open_source(tmp_path)}
    assert list(items) == ["also/a.png", "gone.png", "real/a.png", "self.png"]
    assert reason(items["gone.png"]) == "a symbolic link to what is not there"
    assert reason(items["self.png"]) == "symbolic links that lead nowhere"


@POSIX
def test_a_pipe_that_is_called_like_a_picture_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert reason(only(tmp_path)) == "not a regular file"


@POSIX
def test_what_is_no_file_is_a_reason_alone_and_in_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    os.mkfifo("pipe.jpg")
    Path("link.jpg").symlink_to("nowhere.jpg")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("socket.jpg")
    reasons = {item.id: reason(item) for item in open_source(".")}
    assert reasons == {
        "link.jpg": "a symbolic link to what is not there",
        "pipe.jpg": "not a regular file",
        "socket.jpg": "not a regular file",
    }
    for name in ("pipe.jpg", "socket.jpg"):
        assert reason(only(name)) == "not a regular file"
    with pytest.raises(SourceError, match=r"link\.jpg: a symbolic link to what is not there"):
        open_source("link.jpg")


@pytest.fixture
def nobody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of a user to whom permissions apply."""
    import tempfile

    if os.name != "posix":
        pytest.skip("permissions are those of POSIX")
    with tempfile.TemporaryDirectory() as name:
        where = Path(name)
        where.chmod(0o777)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield where
        finally:
            if user == 0:
                os.seteuid(0)


def test_what_permissions_forbid_is_one_row_with_that_reason(nobody: Path) -> None:
    (nobody / "closed").mkdir(mode=0)
    (nobody / "a.png").write_bytes(b"1")
    (nobody / "a.png").chmod(0)
    (nobody / "b.png").write_bytes(b"1")
    items = list(open_source(nobody))
    assert [item.id for item in items] == ["a.png", "b.png", "closed/"]
    assert reason(items[0]) == "permission denied"
    assert items[1].read() == b"1"
    assert reason(items[2]) == "folder cannot be listed: permission denied"
    (nobody / "closed").chmod(0o700)


def test_a_file_that_vanishes_meanwhile_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    item = only(tmp_path)
    (tmp_path / "a.png").unlink()
    assert reason(item) == "no such file"


def test_a_very_deep_folder_is_walked(tmp_path: Path) -> None:
    depth = 300
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(depth):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(os.open("a.png", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    finally:
        os.close(here)
    assert ids(tmp_path) == ["d/" * depth + "a.png"]


def test_a_file_beyond_the_limit_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_room, "MAX_BYTES", 1 << 20)
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate((1 << 20) + 1)
    assert reason(only(tmp_path)) == "larger than 1 MB"


def test_a_folder_of_tables_says_how_to_read_them(tmp_path: Path) -> None:
    (tmp_path / "0.parquet").write_bytes(b"")
    with pytest.raises(SourceError, match=r"no pictures .*; for the tables .* give '.*/\*'"):
        open_source(tmp_path)


# One file, globs, lists


def test_a_file_named_outright_is_one_item_whatever_it_is(tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_bytes(b"# text")
    item = only(tmp_path / "readme.md")
    assert item.id == str(tmp_path / "readme.md")
    assert item.read() == b"# text"


def test_what_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nothing: no such file or folder"):
        open_source(tmp_path / "nothing")
    with pytest.raises(SourceError, match="no file has such a name"):
        open_source(f"{tmp_path}/*.png")


def test_brackets_in_a_name_that_exists_are_no_pattern(tmp_path: Path) -> None:
    (tmp_path / "a[1].png").write_bytes(b"1")
    (tmp_path / "a1.png").write_bytes(b"2")
    assert only(tmp_path / "a[1].png").read() == b"1"
    assert only(f"{tmp_path}/a[12].png").read() == b"2"
    assert only(f"{tmp_path}/a[1].png", kind="glob").read() == b"2"


def test_a_pattern_with_an_ending_takes_any_file(tmp_path: Path) -> None:
    for name in ("a.dat", "b.png", "c.txt"):
        (tmp_path / name).write_bytes(b"1")
    assert ids(f"{tmp_path}/*.dat") == [f"{tmp_path}/a.dat"]
    assert ids(f"{tmp_path}/*") == [f"{tmp_path}/b.png"]
    assert len(ids(f"{tmp_path}/*", all_files=True)) == 3


def test_a_list_keeps_what_it_says_twice_missing_and_folders(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    (tmp_path / "sub").mkdir()
    lines = f"a.png\n\n# not this\n  missing.png \na.png\nsub\n{tmp_path}/a.png"
    (tmp_path / "list.txt").write_text(lines)
    items = list(open_source(tmp_path / "list.txt"))
    assert [item.id for item in items] == [
        *("a.png", "missing.png", "a.png", "sub"),
        f"{tmp_path}/a.png",
    ]
    assert items[0].read() == items[2].read() == items[4].read() == b"1"
    assert reason(items[1]) == "no such file"
    assert reason(items[3]) == "a folder, not a picture"


@POSIX
def test_file_urls_with_any_bytes_name_files(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"1")
    lines = [b"file://" + folder + name for name in (b"/\xff.png", b"/%FF.png", b"/%ED%A0%80")]
    (tmp_path / "list.txt").write_bytes(b"\n".join(lines))
    items = list(open_source(tmp_path / "list.txt"))
    assert items[0].read() == items[1].read() == b"1"
    assert reason(items[2]).startswith("no such file")
    assert reason(only(["file:///\ud800.png"])).startswith("not a path")


@settings(deadline=None)
@given(
    st.lists(st.text(st.sampled_from("ab#/. \t"), min_size=1, max_size=9), max_size=9),
    st.integers(1, 5),
    st.sampled_from([b"\n", b"\r\n", b"\0"]),
)
def test_lists_are_cut_alike_however_they_arrive(entries: list[str], step: int, end: bytes) -> None:
    class Slow(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            self.data = data

        def read(self, size: int = -1) -> bytes:
            piece, self.data = self.data[:step], self.data[step:]
            return piece

    data = end.join(entry.encode() for entry in entries) + (end if entries else b"")
    found = list(files_room._names(Slow(data)))  # type: ignore[arg-type]
    if end == b"\0":
        assert found == [entry.encode() for entry in entries]
    else:
        stripped = [entry.strip().encode() for entry in entries]
        assert found == [line for line in stripped if line and not line.startswith(b"#")]


def test_standard_input_is_read_as_it_comes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    code = (
        "from nasnet.pictures.sources import open_source\n"
        "source = open_source('-')\n"
        "for item in source: print(source.count, item.id, item.read(), flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(3):  # each answer comes before the next line is sent
            process.stdin.write(b"a.png\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"None a.png b'1'\n"
        process.stdin.close()


def test_csv_columns_are_found_or_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    (tmp_path / "t.tsv").write_text("key\twhere\nk1\ta.png\nk2\t\n")
    with pytest.raises(SourceError, match="name the column with the paths; it has key, where"):
        open_source(tmp_path / "t.tsv")
    with pytest.raises(SourceError, match="no column 'x'; it has key, where"):
        open_source(tmp_path / "t.tsv", options=SourceOptions(column="x"))
    options = SourceOptions(column="where", id_column="key")
    items = list(open_source(tmp_path / "t.tsv", options=options))
    assert [item.id for item in items] == ["k1", "k2"]
    assert items[0].read() == b"1"
    assert reason(items[1]) == "the row names no picture"


# Archives


def a_tar(where: Path, mode: str = "w", count: int = 4, size: int = 3000) -> Path:
    path = where / "photos.tar"
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for number in range(count):
            info = tarfile.TarInfo(f"{number}.png")
            info.size = size
            file.addfile(info, io.BytesIO(os.urandom(size)))
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("share", [0.3, 0.45, 0.6])
def test_a_tar_that_was_cut_off_gives_what_it_has_and_an_error(
    mode: str, share: float, tmp_path: Path
) -> None:
    path = a_tar(tmp_path, mode)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share) // 512 * 512 + 100])
    seen: list[Item] = []

    def walk() -> None:
        for item in open_source(path):
            seen.append(item)

    with pytest.raises(SourceError, match="the archive is damaged"):
        walk()
    whole = 0
    for item in seen:
        with suppress(PictureError):  # where only headers are read, the last one may be cut
            whole += len(item.read()) == 3000
    assert 0 <= whole < 4


def test_links_and_devices_in_a_tar_are_rows_with_that_reason(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as file:
        for name, kind in (("a.png", tarfile.SYMTYPE), ("b.png", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            file.addfile(info)
        device = tarfile.TarInfo("../c.png")
        device.type = tarfile.CHRTYPE
        file.addfile(device)
        folder = tarfile.TarInfo("d.png")
        folder.type = tarfile.DIRTYPE
        file.addfile(folder)
    items = list(open_source(tmp_path / "t.tar"))
    assert [item.id for item in items] == ["a.png", "b.png", "../c.png"]
    assert [reason(item) for item in items] == [
        "a link in the archive, not a file",
        "a link in the archive, not a file",
        "not a regular file in the archive",
    ]


def test_an_archive_is_known_by_its_content(tmp_path: Path) -> None:
    renamed = a_tar(tmp_path).rename(tmp_path / "data.bin")
    assert open_source(renamed).kind == "tar"
    with zipfile.ZipFile(tmp_path / "z.bin", "w") as file:
        file.writestr("a.png", b"1")
    assert open_source(tmp_path / "z.bin").kind == "zip"
    Image.new("RGB", (3, 3)).save(tmp_path / "photo.zip", "PNG")
    assert open_source(tmp_path / "photo.zip").kind == "picture"


def test_damage_within_a_zip_is_a_row_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for number in range(3):
            file.writestr(f"{number}.png", os.urandom(500))
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        start = file.infolist()[1].header_offset + 200
        whole = file.read("2.png")
    data[start : start + 20] = bytes(20)
    path.write_bytes(data)
    items = list(open_source(path))
    assert reason(items[1]).startswith("damaged in the archive: ")
    assert items[2].read() == whole
    path.write_bytes(data[:-30])
    with pytest.raises(SourceError, match="the archive is damaged"):
        open_source(path)


def test_a_compressed_tar_that_ends_in_its_first_header_is_damaged(tmp_path: Path) -> None:
    for size in range(2, 12):
        (tmp_path / "x.tar.gz").write_bytes(b"\x1f\x8b\x08\x08\0\0\0\0\0\xffx"[:size])
        with pytest.raises(SourceError, match=r"x\.tar\.gz: (the archive is damaged|.*pictures)"):
            ids(tmp_path / "x.tar.gz", kind="tar")


def test_a_zip_member_without_a_name_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("X.png", b"1")
        file.writestr("b.png", b"1")
    path.write_bytes(path.read_bytes().replace(b"X.png", b"\0.png"))
    assert ids(path, all_files=True) == ["b.png"]


def test_what_a_zip_member_unpacks_to_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_room, "MAX_BYTES", 1 << 20)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.png", bytes(4 << 20))
    data = path.read_bytes()
    assert len(data) < 10_000
    assert reason(only(path)) == "larger than 512 MB"
    lie = data.replace((4 << 20).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    path.write_bytes(lie)
    assert reason(only(path)).startswith(("larger than", "damaged in the archive"))


def test_an_encrypted_zip_says_so(tmp_path: Path) -> None:
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.png", b"1")
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    path.write_bytes(data)
    assert reason(only(path)) == "encrypted in the archive"


def test_a_tar_of_many_members_is_walked_in_flat_memory(tmp_path: Path) -> None:
    import tracemalloc

    items = iter(open_source(a_tar(tmp_path, count=3000, size=1)))
    tracemalloc.start()
    try:
        count = sum(1 for _ in islice(items, 2999))
        held = tracemalloc.take_snapshot().filter_traces(
            [tracemalloc.Filter(True, tarfile.__file__)]  # others allocate at the same time
        )
    finally:
        tracemalloc.stop()
    assert count == 2999
    size = sum(trace.size for trace in held.traces)
    assert size < 300_000, "3000 headers take more than 1 MB"
    assert len(list(items)) == 1


# Tables


def a_parquet(where: Path, rows: dict[str, Any], **how: Any) -> Path:
    path = where / "t.parquet"
    pq.write_table(pa.table(rows), path, **how)
    return path


def test_of_several_columns_one_must_be_meant(tmp_path: Path) -> None:
    rows = {"one": [b"1"], "two": [b"2"], "three": ["x"]}
    path = a_parquet(tmp_path, rows)
    with pytest.raises(SourceError, match=r"which column has the pictures\? one, two could"):
        open_source(path)
    with pytest.raises(SourceError, match="no column 'four' with encoded pictures"):
        ids(path, column="four")
    with pytest.raises(SourceError, match="no column 'four' for ids"):
        ids(path, column="one", id_column="four")
    assert only(path, column="two").read() == b"2"
    assert only(a_parquet(tmp_path, {"mask": [b"1"], "image": [b"2"]})).read() == b"2"
    with pytest.raises(SourceError, match=r"no column with encoded .* it has n \(int64\)"):
        open_source(a_parquet(tmp_path, {"n": [1]}))


def test_a_column_of_paths_and_one_of_ids_that_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    path = a_parquet(tmp_path, {"file": ["a.png", "b.png", None], "n": [7, 8, None]})
    items = list(open_source(path, options=SourceOptions(column="file", id_column="n")))
    assert [item.id for item in items] == ["7", "8", "2"]
    assert items[0].read() == b"1"
    assert reason(items[1]) == "no such file"
    assert reason(items[2]) == "the row has no picture"


def test_paths_in_a_table_are_found_by_the_same_names_as_in_a_csv(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    assert only(a_parquet(tmp_path, {"n": [1], "file_name": ["a.png"]})).read() == b"1"
    (tmp_path / "t.csv").write_text("path,path\na.png,a.png\n")
    with pytest.raises(SourceError, match="several columns 'path'"):
        open_source(tmp_path / "t.csv")


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 200),
    st.integers(1, 130),
    st.randoms(use_true_random=False),
)
def test_rows_of_any_grouping_read_in_any_order_with_any_of_them_passed_over(
    tmp_path_factory: pytest.TempPathFactory, count: int, group: int, random: Any
) -> None:
    where = tmp_path_factory.mktemp("table")
    data = [f"row {row}".encode() * random.randint(1, 40) for row in range(count)]
    path = a_parquet(where, {"image": data}, row_group_size=group)
    kept = [item for item in open_source(path) if random.random() < 0.4]
    random.shuffle(kept)
    for item in kept:
        assert item.read() == data[int(item.id)]


def test_a_damaged_page_costs_only_rows_of_its_own_group(tmp_path: Path) -> None:
    data = [os.urandom(400) for _ in range(200)]
    path = a_parquet(
        tmp_path, {"image": data}, row_group_size=100, compression="zstd", use_dictionary=False
    )
    raw = bytearray(path.read_bytes())
    place = pq.ParquetFile(path).metadata.row_group(0).column(0).data_page_offset
    raw[place : place + 30] = bytes(30)
    path.write_bytes(raw)
    items = list(open_source(path))
    assert all(reason(item).startswith("damaged in the table") for item in items[:100])
    assert [item.read() for item in items[100:]] == data[100:]


def test_a_table_that_is_none_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(SourceError, match="not a readable table"):
        open_source(tmp_path / "t.parquet")


# Far away


def test_what_may_pass_is_tried_again_and_what_may_not_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from nasnet.pictures.sources import remote

    monkeypatch.setattr(remote, "_PAUSE_S", 0.0)
    with HttpServer() as server:
        server.put("/later.png", b"1", script=[Answer(status=503), Answer(status=503)])
        server.put("/never.png", b"1", script=[Answer(status=500)] * 9)
        server.put("/torn.png", b"12345678", script=[Answer(cut_after=3), Answer(cut_after=3)])
        server.put("/forbidden.png", b"1", script=[Answer(status=403)] * 9)

        def of(name: str) -> Item:
            return only([f"{server.url}/{name}"])

        assert of("later.png").read() == b"1"
        assert of("torn.png").read() == b"12345678"
        assert reason(of("never.png")) == "cannot be fetched: HTTP 500"
        assert reason(of("missing.png")) == "cannot be fetched: not found"
        assert reason(of("forbidden.png")) == "cannot be fetched: HTTP 403"
        asked = [request.path for request in server.requests]
        assert asked.count("/never.png") == 3
        assert asked.count("/missing.png") == 1
        assert asked.count("/forbidden.png") == 1


def test_an_archive_is_read_over_http_without_being_stored(tmp_path: Path) -> None:
    with HttpServer() as server:
        server.put("/photos.tar", a_tar(tmp_path).read_bytes())
        items = list(open_source(f"{server.url}/photos.tar"))
    assert [item.id for item in items] == ["0.png", "1.png", "2.png", "3.png"]
    assert [len(item.read()) for item in items] == [3000] * 4


def test_urls_that_nothing_can_read(tmp_path: Path) -> None:
    assert reason(only(["foo://bar/a.png"])).startswith("not a URL that can be read")
    (tmp_path / "a b.png").write_bytes(b"1")
    assert only((tmp_path / "a b.png").as_uri()).read() == b"1"


def test_a_missing_package_is_no_property_of_a_picture() -> None:
    try:
        import s3fs  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match=r"pip install 'nasnet\[s3\]'"):
            only(["s3://bucket/a.png"]).read()
        with pytest.raises(MissingExtraError, match=r"pip install 'nasnet\[s3\]'"):
            open_source("s3://bucket/folder/")


# Python


def test_whatever_python_has_is_a_source(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    array = np.zeros((3, 4, 3), np.uint8)
    image = Image.new("RGB", (4, 3))
    mixed = [tmp_path / "a.png", b"2", array, image, ("named", b"3"), (7, array), ("\ud800", b"4")]
    items = list(open_source(mixed))
    path = str(tmp_path / "a.png")
    assert [item.id for item in items] == [path, "1", "2", "3", "named", "7", r"\ud800"]
    assert items[0].read() == b"1"
    assert items[2].read() is array
    assert items[3].read() is image
    assert open_source(mixed).count == 7


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"data",
        lambda: np.zeros((3, 4, 3), np.uint8),
        lambda: Image.new("L", (2, 2)),
    ],
)
def test_one_picture_is_a_source_too(make: Callable[[], Any]) -> None:
    one = make()
    item = only(one)
    assert item.id == "0"
    assert item.read() is one


def test_a_batch_of_arrays_and_a_generator() -> None:
    assert [item.read().shape for item in open_source(np.zeros((2, 3, 4, 3)))] == [(3, 4, 3)] * 2
    source = open_source(data for data in (b"1", b"2"))
    assert source.count is None
    assert [item.read() for item in source] == [b"1", b"2"]
    with pytest.raises(SourceError, match="no pictures"):
        list(source)
    with pytest.raises(SourceError, match="found a Python int"):
        open_source(3)


def test_what_other_packages_give_is_a_source_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"1\n2")  # a file is a picture, not its lines
    with path.open("rb") as file:
        assert only(file).read() == b"1\n2"
    assert only([io.BytesIO(b"3\n4")]).read() == b"3\n4"
    for paths in (np.array([str(path)]), np.array([str(path)], object), pa.array([str(path)])):
        assert only(paths).read() == b"1\n2"
    pd = pytest.importorskip("pandas")
    for table in (pa.table({"path": [str(path)]}), pd.DataFrame({"path": [str(path)]})):
        with pytest.raises(SourceError, match="has several columns: take the one"):
            open_source(table)
    assert only(pd.DataFrame({"path": [str(path)]})["path"]).read() == b"1\n2"


@pytest.mark.parametrize(
    ("options", "told"),
    [({"keep": "class"}, "keep is a list of columns"), ({"shard": "1/2"}, "shard is which part")],
)
def test_an_option_of_another_type_is_refused(options: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        SourceOptions(**options)


def test_an_opened_image_is_called_by_its_file(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert only([image]).id == str(tmp_path / "a.png")


def test_samples_are_photographs_that_are_there() -> None:
    pytest.importorskip("skimage")
    items = list(open_source("samples:photographs"))
    assert len(items) >= 5
    assert all(len(item.read()) > 10_000 for item in items)


def test_samples_are_scenes_of_six_views_each_and_the_same_each_time() -> None:
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    source = open_source("samples:")
    items = list(source)
    scenes = Counter(item.id.partition("/")[0] for item in items)
    assert len(items) == source.count == 84
    assert set(scenes.values()) == {6}
    assert len({item.id.partition("/")[0] for item in items[: len(scenes)]}) == len(scenes)
    cat = [item for item in items if item.id.startswith("cat/")]
    contents = [item.read() for item in cat]
    assert len(set(contents)) == len(cat)
    assert contents == [item.read() for item in cat]
    for content in contents:
        with Image.open(io.BytesIO(content)) as image:
            assert min(image.size) >= 128


def test_shards_count_from_zero(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="shard 2 of 2 does not exist"):
        SourceOptions(shard=(2, 2))
    (tmp_path / "a.png").write_bytes(b"1")
    assert ids(tmp_path, shard=(1, 2)) == []


def test_opening_the_room_imports_nothing_heavy() -> None:
    code = (
        "import sys, nasnet.pictures.sources; "
        "print([m for m in ('pyarrow','PIL','fsspec','aiohttp','skimage') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"
