"""Sources cut into shards: every item once, in order, and nothing of the other shards is read."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, strategies as st

from nasnet.errors import SourceError
from nasnet.pictures.sources import SourceOptions, open_source, split_source
from nasnet.pictures.sources.item import even_cuts


@given(
    st.integers(1, 500),
    st.integers(1, 40),
    st.sets(st.integers(0, 499), max_size=20),
)
def test_cuts_cover_everything_once_and_in_order(count: int, parts: int, at: set[int]) -> None:
    seams = sorted(seam for seam in at if seam < count)
    cuts = even_cuts(count, parts, seams)
    assert len(cuts) == parts
    assert [row for low, high in cuts for row in range(low, high)] == list(range(count))
    assert all(high - low <= 2 * -(-count // parts) for low, high in cuts)


def test_cuts_go_where_a_row_group_begins() -> None:
    assert even_cuts(100, 2, (0, 45)) == [(0, 45), (45, 100)]
    assert even_cuts(100, 2, (0, 10)) == [(0, 50), (50, 100)]


def parquet(path: Path, rows: int = 40, *, group: int = 10, first: int = 0) -> Path:
    table = pyarrow.table(
        {
            "id": [f"r{first + row}" for row in range(rows)],
            "jpg": [b"picture %d " % (first + row) * 50 for row in range(rows)],
        }
    )
    pyarrow.parquet.write_table(
        table, path, row_group_size=group, compression="none", use_dictionary=False
    )
    return path


def tar(path: Path, names: list[str]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            archive.addfile(info, io.BytesIO(name.encode()))
    return path


def sources(folder: Path) -> dict[str, str]:
    """One of each kind, all with items that can be told apart."""
    (folder / "pictures").mkdir()
    for number in range(11):
        (folder / "pictures" / f"{number:02d}.png").write_bytes(b"%d" % number)
    names = [f"{number:02d}.jpg" for number in range(9)]
    tar(folder / "a.tar", names)
    for number in range(5):
        tar(folder / f"w{number}.tgz", [f"{number}-{name}" for name in names[: number + 1]])
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for name in names:
            archive.writestr(name, name)
    parquet(folder / "t.parquet")
    parquet(folder / "u0.parquet", 7, group=3)
    parquet(folder / "u1.parquet", 25, group=10, first=7)
    table = pyarrow.parquet.read_table(folder / "t.parquet")
    with pyarrow.ipc.new_file(folder / "t.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    lines = "".join(f"{folder}/pictures/{number:02d}.png\n" for number in (3, 1, 2, 1))
    (folder / "list.txt").write_text(lines)
    (folder / "list.csv").write_text("path\n" + lines)
    return {
        "folder": str(folder / "pictures"),
        "glob": f"{folder}/pictures/*.png",
        "list": str(folder / "list.txt"),
        "csv": str(folder / "list.csv"),
        "tar": str(folder / "a.tar"),
        "compressed tar": str(folder / "w4.tgz"),
        "tars": f"{folder}/w*.tgz",
        "zip": str(folder / "a.zip"),
        "parquet": str(folder / "t.parquet"),
        "parquets": f"{folder}/u*.parquet",
        "arrow": str(folder / "t.arrow"),
        "url": f"file://{folder}/t.parquet",
    }


KINDS = (
    *("folder", "glob", "list", "csv", "tar", "compressed tar", "tars", "zip", "parquet"),
    *("parquets", "arrow", "url"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_in_shards_is_the_source(kind: str, tmp_path: Path) -> None:
    spec = sources(tmp_path)[kind]
    whole = [(item.id, bytes(item.read())) for item in open_source(spec)]
    for rows in (1, 3, 8, 1000):
        split = split_source(spec)
        shards = list(split.shards(rows))
        assert [shard.number for shard in shards] == list(range(len(shards)))
        found = []
        for shard in shards:
            items = [(item.id, bytes(item.read())) for item in shard.items()]
            assert shard.rows in (None, len(items))
            found += items
        assert found == whole
        assert [shard.name for shard in split_source(spec).shards(rows)] == [
            shard.name for shard in shards
        ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_shards_of_single_runs_are_the_source(kind: str, count: int, tmp_path: Path) -> None:
    spec = sources(tmp_path)[kind]
    whole = [(item.id, bytes(item.read())) for item in open_source(spec)]
    shards = []
    for index in range(count):
        source = open_source(spec, options=SourceOptions(shard=(index, count)))
        shards.append([(item.id, bytes(item.read())) for item in source])
        assert source.count in (None, len(shards[-1]))
        assert source.name.endswith(f", shard {index} of {count}") == (count > 1)
    found = [item for shard in shards for item in shard]
    if kind in ("list", "tar", "compressed tar"):  # what cannot be counted is dealt out like cards
        found, whole = sorted(found), sorted(whole)
    assert found == whole


def test_a_shard_reads_nothing_of_other_row_groups(tmp_path: Path) -> None:
    path = parquet(tmp_path / "t.parquet")
    groups = pyarrow.parquet.read_metadata(path)
    end = groups.row_group(2).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[4:end] = b"\xff" * (end - 4)  # the first two groups are gone
    path.write_bytes(data)
    source = open_source(path, options=SourceOptions(shard=(1, 2), id_column="id"))
    assert [item.id for item in source] == [f"r{row}" for row in range(20, 40)]
    assert all(item.read().startswith(b"picture") for item in source)
    shard = list(split_source(path, options=SourceOptions(id_column="id")).shards(20))[1]
    assert [item.id for item in shard.items()] == [f"r{row}" for row in range(20, 40)]
    with pytest.raises(SourceError, match="damaged"):
        list(open_source(path, options=SourceOptions(shard=(0, 2), id_column="id")))


def test_a_shard_opens_no_archive_of_another(tmp_path: Path) -> None:
    for number in range(4):
        tar(tmp_path / f"w{number}.tar", [f"{number}.jpg"])
    (tmp_path / "w0.tar").write_bytes(b"nonsense" * 512)
    options = SourceOptions(shard=(1, 2))
    found = [Path(item.id).name for item in open_source(f"{tmp_path}/w*.tar", options=options)]
    assert found == ["2.jpg", "3.jpg"]
    with pytest.raises(SourceError, match="damaged"):
        list(open_source(f"{tmp_path}/w*.tar", options=SourceOptions(shard=(0, 2))))


def test_shards_of_a_relative_path_can_be_read_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources(tmp_path)
    monkeypatch.chdir(tmp_path)
    shards = [
        shard
        for spec in ("pictures", "a.tar", "a.zip", "t.parquet", "w*.tgz")
        for shard in split_source(spec).shards(4)
    ]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert all(len(item.read()) for shard in shards for item in shard.items())
    assert shards[0].folder == str(tmp_path / "pictures")
