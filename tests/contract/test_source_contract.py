"""What every kind of source promises, whatever the pictures lie in."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from nasnet.errors import PictureError, SourceError
from nasnet.pictures.sources import Item, SourceOptions, open_source
from tests.support.http_server import HttpServer


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 7, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


# Names in the order every kind must give them; an empty one cannot be read.
PICTURES: Mapping[str, bytes] = {
    "B.PNG": picture(0),
    "a.png": picture(1),
    "a/deep/er.png": picture(2),
    "a/x.jpeg": picture(3),
    "broken.png": b"",
    "no picture.jpg": b"hello",
    "ä ö.png": picture(4),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A source with the pictures in it.

    Attributes:
        spec: what to open.
        options: how.
        prefix: what ids have before the name.
        empty: a source of the same kind without a picture, where one can be made.
    """

    spec: Any
    options: SourceOptions = field(default_factory=SourceOptions)
    prefix: str = ""
    empty: Any = None


def folder(where: Path) -> Made:
    (where / "none").mkdir()
    for name, data in PICTURES.items():
        path = where / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (where / "photos" / ".hidden.png").write_bytes(picture(9))
    (where / "photos" / "notes.txt").write_bytes(b"no picture")
    return Made(spec=where / "photos", empty=where / "none")


def pattern(where: Path) -> Made:
    made = folder(where)
    return Made(spec=f"{made.spec}/**/*", prefix=f"{made.spec}/", empty=f"{made.spec}/**/*.nothing")


def text_list(where: Path) -> Made:
    folder(where)
    lines = ["# a comment", "", *PICTURES]
    (where / "photos" / "all.txt").write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    (where / "none.txt").write_bytes(b"# nothing\n\n")
    return Made(spec=where / "photos" / "all.txt", empty=where / "none.txt")


def null_list(where: Path) -> Made:
    folder(where)
    (where / "photos" / "all.list").write_bytes(b"\0".join(map(os.fsencode, PICTURES)) + b"\0")
    (where / "none.txt").write_bytes(b"")
    return Made(spec=str(where / "photos" / "all.list"), empty=where / "none.txt")


def pipe(where: Path) -> Made:
    """What the shell's <(find ...) gives: a pipe with a list in it."""
    made = folder(where)
    read, write = os.pipe()
    os.write(write, "".join(f"{made.spec}/{name}\n" for name in PICTURES).encode())
    os.close(write)
    return Made(spec=f"/dev/fd/{read}", prefix=f"{made.spec}/")


def csv_table(where: Path) -> Made:
    folder(where)
    rows = [f'1,"{name}"' for name in PICTURES]
    (where / "photos" / "all.csv").write_text("\n".join(["label,file", *rows]), "utf-8")
    (where / "none.csv").write_text("label,file\n")
    return Made(spec=where / "photos" / "all.csv", empty=where / "none.csv")


def tar(where: Path, mode: str = "w") -> Made:
    for name, content in (("photos.tar", PICTURES), ("none.tar", {"a.txt": b"no picture"})):
        with tarfile.open(where / name, mode) as file:  # type: ignore[call-overload]
            for member, data in {**content, "a/.hidden.png": b"1", "x.json": b"{}"}.items():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
    return Made(spec=where / "photos.tar", empty=where / "none.tar")


def packed_tar(where: Path) -> Made:
    return tar(where, "w:gz")


def zipped(where: Path) -> Made:
    for name, content in (("photos.zip", PICTURES), ("none.zip", {"a.txt": b"no picture"})):
        with zipfile.ZipFile(where / name, "w", zipfile.ZIP_DEFLATED) as file:
            for member, data in {**content, "__MACOSX/a.png": b"1", "x.json": b"{}"}.items():
                file.writestr(member, data)
    return Made(spec=where / "photos.zip", empty=where / "none.zip")


def table(*, empty: bool = False) -> pa.Table:
    names = [] if empty else list(PICTURES)
    return pa.table(
        {
            "name": pa.array(names, pa.string()),
            "label": pa.array(range(len(names)), pa.int64()),
            "data": pa.array([PICTURES[name] or None for name in names], pa.binary()),
        }
    )


def parquet(where: Path) -> Made:
    pq.write_table(table(), where / "t.parquet", row_group_size=3)
    pq.write_table(table(empty=True), where / "none.parquet")
    options = SourceOptions(id_column="name")
    return Made(spec=where / "t.parquet", options=options, empty=where / "none.parquet")


def hugging_face(where: Path) -> Made:
    names = list(PICTURES)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = [{"bytes": PICTURES[name] or None, "path": name} for name in names]
    images[4]["path"] = "broken.png"
    (where / "broken.png").write_bytes(b"")
    rows = {"image": pa.array(images, kind), "label": pa.array(range(len(names)))}
    pq.write_table(pa.table(rows), where / "hf.parquet")
    return Made(spec=where / "hf.parquet")


def arrow_file(where: Path) -> Made:
    for name, rows in (("t.arrow", table()), ("none.arrow", table(empty=True))):
        with pa.ipc.new_file(where / name, rows.schema) as writer:
            writer.write_table(rows, max_chunksize=3)
    options = SourceOptions(id_column="name")
    return Made(spec=where / "t.arrow", options=options, empty=where / "none.arrow")


def arrow_stream(where: Path) -> Made:
    for name, rows in (("t.bin", table()), ("none.bin", table(empty=True))):
        with pa.ipc.new_stream(where / name, rows.schema) as writer:
            writer.write_table(rows, max_chunksize=3)
    options = SourceOptions(id_column="name", column="data")
    return Made(spec=where / "t.bin", options=options, empty=where / "none.bin")


def shards(where: Path) -> Made:
    """Several archives that a pattern names, read one after another."""
    names = list(PICTURES)
    for number, part in enumerate((names[:3], names[3:])):
        with tarfile.open(where / f"{number}.tar", "w") as file:
            for name in part:
                info = tarfile.TarInfo(name)
                info.size = len(PICTURES[name])
                file.addfile(info, io.BytesIO(PICTURES[name]))
    return Made(spec=f"{where}/*.tar", prefix=str(where), empty=f"{where}/*.zip")


def memory(where: Path) -> Made:
    """A bucket, as far as fsspec is concerned."""
    system = fsspec.filesystem("memory")
    for name, data in PICTURES.items():
        system.pipe_file(f"/{where.name}/{name}", data)
    system.pipe_file(f"/{where.name}/notes.txt", b"no picture")
    system.pipe_file(f"/none-{where.name}/notes.txt", b"no picture")
    return Made(spec=f"memory://{where.name}", empty=f"memory://none-{where.name}")


def far_zip(where: Path) -> Made:
    made = zipped(where)
    fsspec.filesystem("memory").pipe_file(f"/{where.name}.zip", made.spec.read_bytes())
    return Made(spec=f"memory://{where.name}.zip")


def far_parquet(where: Path) -> Made:
    made = parquet(where)
    fsspec.filesystem("memory").pipe_file(f"/{where.name}.parquet", made.spec.read_bytes())
    return Made(spec=f"memory://{where.name}.parquet", options=made.options)


def python_pairs(where: Path) -> Made:
    folder(where)
    pairs = [(name, where / "photos" / name) for name in PICTURES]
    return Made(spec=pairs, empty=[])


def python_mapping(where: Path) -> Made:
    folder(where)
    return Made(spec={name: str(where / "photos" / name) for name in PICTURES}, empty={})


KINDS: tuple[Callable[[Path], Made], ...] = (
    *(folder, pattern, text_list, null_list, pipe, csv_table, tar, packed_tar, zipped, shards),
    *(parquet, hugging_face, arrow_file, arrow_stream, memory, far_zip, far_parquet),
    *(python_pairs, python_mapping),
)
ONCE = (pipe,)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> Callable[[Path], Made]:
    made: Callable[[Path], Made] = request.param
    if made is pipe and not Path("/dev/fd").exists():
        pytest.skip("this system has no /dev/fd")
    return made


def names_of(items: list[Item], made: Made) -> list[str]:
    if made.prefix and not made.prefix.endswith("/"):  # shards: the archive stands between
        return [item.id.removeprefix(made.prefix).split("/", 2)[2] for item in items]
    return [item.id.removeprefix(made.prefix) for item in items]


def test_every_picture_is_one_item_in_order(kind: Callable[[Path], Made], tmp_path: Path) -> None:
    made = kind(tmp_path)
    source = open_source(made.spec, options=made.options)
    items = list(source)
    assert names_of(items, made) == list(PICTURES)
    assert source.count in (None, len(PICTURES))
    assert source.name


def test_bytes_are_read_late_in_any_order_by_any_thread(
    kind: Callable[[Path], Made], tmp_path: Path
) -> None:
    made = kind(tmp_path)
    items = list(open_source(made.spec, options=made.options))
    for item, name in zip(items[::-1], [*PICTURES][::-1], strict=True):
        if PICTURES[name]:
            assert bytes(item.read()) == PICTURES[name], name


def test_what_cannot_be_read_is_a_reason_in_its_own_row(
    kind: Callable[[Path], Made], tmp_path: Path
) -> None:
    made = kind(tmp_path)
    bad = list(open_source(made.spec, options=made.options))[list(PICTURES).index("broken.png")]
    with pytest.raises(PictureError, match=r"^(empty file|the row has no picture)$"):
        bad.read()


def test_shards_share_the_items_among_them(kind: Callable[[Path], Made], tmp_path: Path) -> None:
    found: list[list[str]] = []
    for index in range(3):
        where = tmp_path / str(index)
        where.mkdir()
        made = kind(where)
        options = SourceOptions(
            id_column=made.options.id_column, column=made.options.column, shard=(index, 3)
        )
        source = open_source(made.spec, options=options)
        items = list(source)
        assert source.count in (None, len(items))
        assert f"shard {index} of 3" in source.name
        found.append(names_of(items, made))
    in_turn = [name for row in zip_longest(*found) for name in row if name is not None]
    in_order = [name for one in found for name in one]
    # Consecutive items where the length is known, each third one where it is not.
    assert (in_turn if source.count is None else in_order) == list(PICTURES)


def test_a_source_can_be_begun_anew(kind: Callable[[Path], Made], tmp_path: Path) -> None:
    if kind in ONCE:
        pytest.skip("a stream flows once")
    made = kind(tmp_path)
    source = open_source(made.spec, options=made.options)
    assert [item.id for item in source] == [item.id for item in source]


def test_items_that_are_passed_over_are_never_read(
    kind: Callable[[Path], Made], tmp_path: Path
) -> None:
    made = kind(tmp_path)

    def later(items: Iterator[Item]) -> list[Item]:
        return [item for number, item in enumerate(items) if number >= 5]

    items = later(iter(open_source(made.spec, options=made.options)))
    assert bytes(items[0].read()) == PICTURES["no picture.jpg"]
    assert bytes(items[1].read()) == PICTURES["ä ö.png"]


def test_an_empty_source_is_said_to_be_empty(kind: Callable[[Path], Made], tmp_path: Path) -> None:
    made = kind(tmp_path)
    if made.empty is None:
        pytest.skip("cannot be made empty")
    with pytest.raises(SourceError, match=r"no pictures|no file has|no rows|looks like a picture"):
        list(open_source(made.empty, options=made.options))


def test_urls_are_pictures_like_any_other(tmp_path: Path) -> None:
    with HttpServer() as server:
        for number, data in enumerate(PICTURES.values()):
            server.put(f"/{number}.png", data)
        urls = [f"{server.url}/{number}.png" for number in range(len(PICTURES))]
        (tmp_path / "urls.txt").write_text("\n".join(urls))
        items = list(open_source(tmp_path / "urls.txt"))
        assert [item.id for item in items] == urls
        for item, data in zip(items, PICTURES.values(), strict=True):
            if data:
                assert item.read() == data
        assert open_source(urls[0]).count == 1
        assert next(iter(open_source(urls[0]))).read() == PICTURES["B.PNG"]
        assert len(server.requests) == len(PICTURES), "one request a picture"
