"""Indexes: what they find, what they refuse, and that a killed process loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import nasnet
from nasnet.errors import InputError, OutputError
from nasnet.features.feature_set import Features
from nasnet.features.reduction import unit
from tests.support import ROOT
from tests.support.cli import invoke
from tests.support.feature_sets import META, features, table_of, with_failures
from tests.support.pictures import jpeg


def recall(index: nasnet.Index, found: Features, queries: np.ndarray) -> float:
    exact = np.argsort(-(unit(queries) @ unit(found.vectors).T), axis=1)[:, :10]
    near, _ = index.nearest(queries, 10)
    hits = [len(np.intersect1d(a, b)) for a, b in zip(near, exact, strict=True)]
    return sum(hits) / exact.size


def test_an_exact_index_finds_what_all_pairs_find(tmp_path: Path) -> None:
    found = with_failures(features(500), [3, 77])
    done = nasnet.build_index(found, tmp_path / "i")
    assert (done.rows, done.added, done.without, done.kind) == (498, 498, 2, "exact")
    index = nasnet.open_index(tmp_path / "i")
    assert len(index) == 498
    ids, cosines = index.search(found.vectors[:1] * 5, 3)
    assert ids[0][0] == found.ids[0]
    assert cosines[0, 0] == pytest.approx(1, abs=1e-6)
    in_memory = nasnet.open_index(found)
    again, _ = in_memory.search(found.vectors[:1], 3)
    assert again == ids
    assert index.row("000004.jpg") == 3
    assert np.allclose(index.vectors(np.array([3])), unit(found.vectors[4:5]))


def test_lists_find_what_exact_search_finds(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    found = features(5000)
    done = nasnet.build_index(found, tmp_path / "i", kind="ivf")
    assert done.kind == "ivf"
    assert done.recall > 0.98
    index = nasnet.open_index(tmp_path / "i")
    queries = features(200, seed=5).vectors
    assert recall(index, found, queries) > 0.95


def test_asked_for_more_than_the_lists_hold_it_looks_at_all(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    found = features(2000)
    nasnet.build_index(found, tmp_path / "i", kind="ivf")
    index = nasnet.open_index(tmp_path / "i")
    assert index.kind == "ivf"
    for k in (1000, 2000, 9999):
        ((ids,), (cosines,)) = index.search(found.vectors[:1], k)
        assert len(ids) == len(set(ids)) == len(cosines) == min(k, 2000)
        assert np.isfinite(cosines).all()


def test_what_is_added_is_found_whether_the_lists_have_it_or_not(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    nasnet.build_index(features(2000), tmp_path / "i", kind="ivf")
    for first, rows in ((2000, 50), (2050, 1000)):  # few: a tail; many: lists made anew
        more = features(rows, first=first)
        assert nasnet.add_to_index(tmp_path / "i", more).added == rows
        index = nasnet.open_index(tmp_path / "i")
        assert index.search(more.vectors[-1:], 1)[0] == [[more.ids[-1]]]
    assert len(list((tmp_path / "i").glob("*.faiss"))) == 1


def test_pictures_that_are_there_keep_their_vectors(tmp_path: Path) -> None:
    first = features(10)
    nasnet.build_index(first, tmp_path / "i")
    both = features(15, seed=3)
    done = nasnet.add_to_index(tmp_path / "i", both)
    assert (done.rows, done.added, done.known) == (15, 5, 10)
    index = nasnet.open_index(tmp_path / "i")
    assert np.allclose(index.vectors(np.arange(10)), unit(first.vectors))
    assert nasnet.add_to_index(tmp_path / "i", both).added == 0
    assert nasnet.open_index(tmp_path / "i").ids == both.ids


def test_an_index_that_is_older_than_its_set_says_so(tmp_path: Path) -> None:
    """After `embed --sync` it found pictures as they had been, and nobody was told."""

    def sized(found: Features, sizes: list[int | None]) -> Features:
        return replace(found, columns=pa.table({"file_bytes": pa.array(sizes, pa.int64())}))

    index = tmp_path / "i"
    nasnet.build_index(sized(features(4), [10, 11, 12, None]), index)
    other = replace(features(2, first=90), meta=replace(META, source="elsewhere"))
    done = nasnet.add_to_index(index, sized(other, [1, 2]))
    assert (done.added, done.changed, done.gone) == (2, 0, 0)
    # One gone, one changed, one not readable any more, one of which nothing was known, one new.
    now = sized(with_failures(features(4, first=1), [1]), [99, 12, 13, 14])
    done = nasnet.add_to_index(index, now)
    assert (done.added, done.known, done.without) == (1, 2, 1)
    assert (done.changed, done.gone) == (2, 1)
    pq.write_table(table_of(features(5)), tmp_path / "f.parquet")
    assert (
        "have changed" not in invoke("index", tmp_path / "f.parquet", "-o", tmp_path / "j").stdout
    )
    pq.write_table(table_of(features(4, first=1)), tmp_path / "f.parquet")
    said = invoke("index", tmp_path / "f.parquet", "-o", tmp_path / "j", "--append").stdout
    assert "0 of the index have changed and 1 are gone since" in said
    missing = invoke("index", tmp_path / "f.parquet", "-o", tmp_path / "k", "--append")
    assert "is not there: build it first, without --append" in missing.stderr


def test_info_tells_what_a_set_or_an_index_is_of(tmp_path: Path) -> None:
    """It said that a Parquet file was no TOML, and that no file was called as the index was."""
    pq.write_table(table_of(features(5)), tmp_path / "f.parquet")
    nasnet.build_index(features(4), tmp_path / "i")
    for place, rows in ((tmp_path / "f.parquet", 5), (tmp_path / "i", 4)):
        lines = [line.split(maxsplit=1) for line in invoke("info", place).stdout.splitlines()]
        assert lines[:2] == [["rows", str(rows)], ["module", "seeded:7"]]
        told = json.loads(invoke("info", place, "--json").stdout)
        assert (told["rows"], told["recipe"], told["source"]) == (rows, "photo/1", "nowhere")
    refused = invoke("info", tmp_path)
    assert refused.exit_code == 1
    assert "is not an index" in refused.stderr
    of_networks = invoke("info", tmp_path / "i", "--size", "96")
    assert of_networks.exit_code == 2
    assert "--size, --classes and --picture are for a network" in of_networks.stderr


def test_a_picture_is_found_by_its_path_and_a_failed_one_says_why(tmp_path: Path) -> None:
    ids = ["a/caf\\xe9.jpg", "a/\\x5cxe9.jpg", "bad", "a/b"]
    found = with_failures(replace(features(4), ids=ids), [2])
    index = nasnet.open_index(found)
    assert index.row("a/caf\udce9.jpg") == index.row("a/caf\\xe9.jpg") == 0
    with pytest.raises(InputError, match="no picture"):
        index.row("a/\\xe9.jpg")  # an id, and not that of the file which is called so
    with pytest.raises(InputError, match="bad has no vector: no picture"):
        index.row("bad")
    for almost in ("b", "photos/a/b"):
        with pytest.raises(InputError, match="did you mean 'a/b'"):
            index.row(almost)
    with pytest.raises(InputError, match="its first is"):
        index.row("c.jpg")


def test_vectors_of_others_are_refused(tmp_path: Path) -> None:
    nasnet.build_index(features(10), tmp_path / "i")
    other = replace(features(5, first=50), meta=replace(META, weights_fingerprint="1" * 16))
    with pytest.raises(InputError, match=r"fingerprint is 0000000000000000 \(seeded:7\) here"):
        nasnet.add_to_index(tmp_path / "i", other)
    index = nasnet.open_index(tmp_path / "i")
    with pytest.raises(InputError, match=r"shape \[1, 7\], expected \[n, 16\]"):
        index.nearest(np.zeros((1, 7), np.float32))
    with pytest.raises(InputError, match="not a finite number"):
        index.nearest(np.full((1, 16), np.nan, np.float32))
    with pytest.raises(InputError, match="no picture 'x' in this index"):
        index.row("x")


def test_rows_may_be_true_and_false_and_must_be_there() -> None:
    index = nasnet.open_index(features(10))
    query = index.vectors([4])
    chosen = np.zeros(10, bool)
    chosen[[4, 7]] = True
    for among in (chosen, [7, 4], np.array([4, 7], np.uint8)):
        rows, _ = index.nearest(query, 5, where=among)
        assert sorted(rows[0].tolist()) == [4, 7]
    wrong: Any
    for wrong in ([10], [-1], ["a"], [1.5], chosen[:5], [[1]]):
        with pytest.raises(InputError, match=r"no row|rows are whole numbers"):
            index.vectors(wrong)
        with pytest.raises(InputError, match=r"no row|rows are whole numbers"):
            index.nearest(query, where=wrong)


def test_what_is_no_feature_set_is_said_in_python_too() -> None:
    for wrong in (np.zeros((3, 16), np.float32), None, 3, [1], b"x"):
        for use in (nasnet.open_index, nasnet.outliers, nasnet.near_duplicates):
            with pytest.raises(InputError, match="a feature set is a file of nasnet embed"):
                use(wrong)
    with pytest.raises(OutputError, match="the table: not written by nasnet"):
        nasnet.open_index(pa.table({"a": [1]}))


@pytest.mark.parametrize(
    "command",
    [
        ("search", "x.parquet", "--id", "a", "--page"),
        ("dedup", "x.parquet", "--page"),
        ("outliers", "x.parquet", "--page"),
        ("map", "x.parquet", "-o"),
        ("classify", "x.jpg", "-w", "seeded:7", "-o"),
        ("weights", "pack", "seeded:7", "-o"),
    ],
)
def test_a_place_without_a_folder_is_told_before_anything_is_done(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    ending = "csv" if command[0] == "classify" else "safetensors" if "pack" in command else "html"
    done = invoke(*command, tmp_path / "no" / f"x.{ending}")
    assert done.exit_code == 1
    assert f"no folder {tmp_path / 'no'}: make it first" in done.stderr, "and not that x is missing"


def test_what_is_no_index_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is not an index"):
        nasnet.open_index(tmp_path)
    with pytest.raises(OutputError, match="is not there: build it first"):
        nasnet.add_to_index(tmp_path / "none", features(3))
    with pytest.raises(OutputError, match="is not an index"):
        nasnet.add_to_index(tmp_path, features(3))
    nasnet.build_index(features(10), tmp_path / "i")
    with pytest.raises(OutputError, match="exists: add to it"):
        nasnet.build_index(features(10), tmp_path / "i")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="is not an index, so it is not replaced"):
        nasnet.build_index(features(10), tmp_path / "mine", overwrite=True)
    with pytest.raises(InputError, match="not one row"):
        nasnet.build_index(with_failures(features(2), [0, 1]), tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("damage", ["truncated", "short ids", "no json", "other format"])
def test_a_damaged_index_is_one_line(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "i"
    nasnet.build_index(features(10), folder)
    vectors, ids = next(folder.glob("*.npy")), next(folder.glob("*.parquet"))
    contents = folder / "index.json"
    if damage == "truncated":
        vectors.write_bytes(vectors.read_bytes()[:200])
    elif damage == "short ids":
        pq.write_table(pa.table({"id": ["a"]}), ids)
    elif damage == "no json":
        contents.write_text("{")
    else:
        contents.write_text(contents.read_text().replace("nasnet-index/1", "nasnet-index/9"))
    with pytest.raises(OutputError):
        nasnet.open_index(folder)


KILLED = """
import os, signal, sys
import nasnet
from nasnet.features.index import folder
from tests.support.feature_sets import features

stage = sys.argv[2]
def die(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)
if stage == "vectors":
    folder._write_vectors = die
elif stage == "named":
    folder.write_contents = die
else:
    write = folder.write_contents
    def then_die(*args):
        write(*args)
        die()
    folder.write_contents = then_die
nasnet.add_to_index(sys.argv[1], features(7, first=10))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize(("stage", "rows"), [("vectors", 10), ("named", 10), ("after", 17)])
def test_an_index_survives_a_kill_while_it_is_added_to(
    tmp_path: Path, stage: str, rows: int
) -> None:
    folder = tmp_path / "i"
    nasnet.build_index(features(10), folder)
    root = ROOT
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(folder), stage],
        env=os.environ | {"PYTHONPATH": path},
        cwd=root,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(nasnet.open_index(folder)) == rows
    assert nasnet.add_to_index(folder, features(7, first=10)).rows == 17
    index = nasnet.open_index(folder)
    assert index.ids == [*features(10).ids, *features(7, first=10).ids]
    assert len(list(folder.glob("part-*"))) == 4, "leftovers are swept"


def test_a_picture_that_is_there_twice_is_at_no_distance() -> None:
    found = features(1, dimensions=1056)  # whose cosine is a little above 1
    vectors = np.repeat(found.vectors, 40, axis=0) * np.arange(1, 41, dtype=np.float32)[:, None]
    ids, errors = [str(n) for n in range(40)], [None] * 40
    twice = replace(found, ids=ids, vectors=vectors, errors=list(errors))
    for one in nasnet.outliers(twice, neighbours=3):
        assert 0 <= one.distance < 1e-6
        assert not str(one.distance).startswith("-")


def test_what_is_like_nothing_else_comes_first() -> None:
    found = features(200)
    vectors = np.abs(found.vectors)
    vectors[42] = -vectors[42]
    first, *rest = nasnet.outliers(replace(found, vectors=vectors), count=5, neighbours=3)
    assert first.id == "000042.jpg"
    assert first.distance > 1
    assert len(rest) == 4
    with pytest.raises(InputError, match="two pictures"):
        nasnet.outliers(features(1))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(6):
        (folder / f"{seed}.jpg").write_bytes(jpeg(seed=seed))
    (folder / "copy.jpg").write_bytes((folder / "2.jpg").read_bytes())
    (folder / "set").mkdir()
    options = nasnet.EmbedOptions(size=(64, 64))
    output = folder / "set" / "f.parquet"
    nasnet.embed_to_file(folder, output, weights="seeded:7", options=options)
    return folder


def run(command: str, *arguments: str | Path | float) -> str:
    result = invoke(command, *arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_from_pictures_to_found_pictures_on_the_command_line(tmp_path: Path, photos: Path) -> None:
    said = run("index", photos / "set" / "f.parquet", "-o", tmp_path / "i")
    assert "7 pictures (exact), 7 of them new" in said
    page = tmp_path / "found.html"
    out = run(
        "search", tmp_path / "i", photos / "2.jpg", "--id", "4.jpg", "-k", 3, "--json",
        "--page", page, "--source", photos,
    )  # fmt: skip
    by_id, by_picture = (json.loads(line) for line in out.splitlines()[:2])
    assert by_id["query"] == "4.jpg"
    assert len(by_id["nearest"]) == 3
    assert "4.jpg" not in {one["id"] for one in by_id["nearest"]}
    assert {one["id"] for one in by_picture["nearest"][:2]} == {"2.jpg", "copy.jpg"}
    assert by_picture["nearest"][0]["cosine"] == pytest.approx(1, abs=1e-5)
    text = page.read_text(encoding="utf-8")
    assert text.count("<article ") == 2
    assert text.count('src="data:image/jpeg') == 2 + 2 * 3


@pytest.mark.parametrize(
    ("where", "pictures", "told"),
    [
        ("id like '%2.jpg' or id like 'c%'", 2, "The condition is true for 2 pictures."),
        ("width < 3", 0, "No picture was found."),
    ],
)
def test_what_a_condition_alone_lists_has_a_page_too(
    where: str, pictures: int, told: str, tmp_path: Path, photos: Path
) -> None:
    page = tmp_path / "listed.html"
    said = run("search", photos / "set" / "f.parquet", "--where", where, "--page", page)
    assert f"{page}: open it in a browser" in said
    text = page.read_text(encoding="utf-8")
    assert text.count('src="data:image/jpeg') == pictures
    assert told in text
    assert "cosine" not in text, "nothing was compared"


def test_vectors_and_their_files_are_searched_with(tmp_path: Path, photos: Path) -> None:
    file = photos / "set" / "f.parquet"
    out = run("search", file, "--vectors", file, "-k", 1, "--json")
    assert [json.loads(line)["query"] for line in out.splitlines()] == nasnet.read_features(
        file
    ).ids
    np.save(tmp_path / "plain.npy", nasnet.read_features(file).vectors[:2])
    out = run("search", file, "--vectors", tmp_path / "plain.npy", "-k", 1)
    assert out.splitlines()[1].split()[1] == nasnet.read_features(file).ids[0]
    np.save(tmp_path / "nan.npy", np.array([[0.0] * 1056, [np.nan] * 1056]))
    done = invoke("search", file, "--vectors", tmp_path / "nan.npy")
    assert "nan.npy: row 1 holds a value that is not a finite number" in done.stderr


def test_pictures_of_other_weights_are_refused(photos: Path) -> None:
    arguments = [str(photos / "set" / "f.parquet"), str(photos / "2.jpg"), "-w", "seeded:8"]
    result = invoke("search", *arguments)
    assert result.exit_code == 2
    assert "weights fingerprint" in result.stderr
