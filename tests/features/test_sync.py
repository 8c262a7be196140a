"""A feature set made to be what its folder is now."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import nasnet
from nasnet import EmbedOptions, EngineOptions, SourceOptions
from nasnet.errors import OutputError
from nasnet.features.embed import EmbedEvent, EmbedSummary
from nasnet.features.store import Mode, SinkOptions
from nasnet.pictures.sources import Item, open_source
from nasnet.pictures.sources.item import refusal
from nasnet.pictures.sources.stamps import has_changed
from nasnet.weights.opening import Opened, open_weights
from tests.support.cli import invoke
from tests.support.pictures import jpeg

LONG_AGO = 1_000_000_000.0


def picture(path: Path, seed: int, *, old: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(32, 32, seed=seed))
    if old:
        os.utime(path, (LONG_AGO, LONG_AGO))


@pytest.fixture(scope="module")
def weights() -> Opened:
    return open_weights("seeded:7")


def sync(folder: Path, output: Path, weights: Opened, *keep: str) -> EmbedSummary:
    options = EmbedOptions(
        size=(32, 32),
        sink=SinkOptions(mode="sync"),
        source=SourceOptions(keep=keep),
    )
    return nasnet.embed_to_file(folder, output, weights=weights, options=options)


def counts(done: EmbedSummary) -> tuple[int, int, int, int]:
    return done.rows, done.added, done.changed, done.removed


@pytest.mark.parametrize("ending", [".parquet", ".npy"])
def test_new_ones_come_in_changed_ones_again_and_gone_ones_out(
    tmp_path: Path, weights: Opened, ending: str
) -> None:
    folder, output = tmp_path / "p", tmp_path / f"f{ending}"
    for number in range(6):
        picture(folder / "ab"[number % 2] / f"{number}.jpg", number)
    (folder / "a" / "bad.jpg").write_bytes(b"no picture")
    assert counts(sync(folder, output, weights)) == (7, 7, 0, 0)
    before = output.stat().st_mtime_ns
    (folder / "a" / "bad.jpg").unlink()
    assert counts(sync(folder, output, weights)) == (6, 0, 0, 1)
    assert counts(sync(folder, output, weights)) == (6, 0, 0, 0)
    (folder / "a" / "0.jpg").unlink()
    picture(folder / "a" / "2.jpg", 22)  # of another size, and an old time
    data = bytearray((folder / "b" / "1.jpg").read_bytes())
    data[-40] ^= 1
    (folder / "b" / "1.jpg").write_bytes(data)  # of the same size, and a new time
    picture(folder / "c" / "new.jpg", 7)
    done = sync(folder, output, weights, "class")
    assert counts(done) == (6, 1, 2, 1)
    found = nasnet.read_features(output)
    assert found.ids == ["a/2.jpg", "a/4.jpg", "b/1.jpg", "b/3.jpg", "b/5.jpg", "c/new.jpg"]
    assert found.columns is not None
    assert found.columns["class"].to_pylist() == ["a", "a", "b", "b", "b", "c"]
    anew = nasnet.embed(folder, weights=weights, options=EmbedOptions(size=(32, 32)))
    assert anew["id"].to_pylist() == found.ids
    vectors = np.array(anew["vector"].to_pylist(), np.float32)
    np.testing.assert_allclose(found.vectors, vectors, rtol=0, atol=1e-5)
    assert output.stat().st_mtime_ns > before


def test_what_was_added_and_where_pictures_went_is_told(tmp_path: Path) -> None:
    folder, output = tmp_path / "p", tmp_path / "f.parquet"
    common = ("embed", folder, "-o", output, "-w", "seeded:7", "--size", "32")
    picture(folder / "0.jpg", 1)
    assert invoke(*common).exit_code == 0
    for name, told in (("1.jpg", "1 new or tried again, 1 as they were"), ("", "0 new or tried")):
        if name:
            picture(folder / name, 2)
        assert told in invoke(*common, "--append").stderr
    for _ in range(2):  # the page of a set that is kept up to date is made anew
        assert invoke(*common, "--sync", "--page", tmp_path / "kept.html").exit_code == 0
    folder.rename(tmp_path / "moved")
    for command in (
        ("search", output, "--id", "0.jpg", "--page"),
        ("outliers", output, "--page"),
        ("map", output, "--method", "pca", "-o"),
    ):
        run = invoke(*command, tmp_path / "page.html")
        assert run.exit_code == 1
        assert "no such file or folder; --source says where they are" in run.stderr
        run = invoke(*command, tmp_path / f"{command[0]}.html", "--source", tmp_path / "moved")
        assert run.exit_code == 0, run.stderr


def test_what_would_lose_rows_by_mistake_is_refused(tmp_path: Path, weights: Opened) -> None:
    folder, output = tmp_path / "p", tmp_path / "f.parquet"
    for name in ("a/0.jpg", "b/1.jpg"):
        picture(folder / name, 1)
    sync(folder, output, weights, "class")
    data = output.read_bytes()
    shutil.copytree(folder / "a", tmp_path / "other" / "a")
    with pytest.raises(OutputError, match="would remove all its rows; if the pictures were moved"):
        sync(tmp_path / "other", output, weights, "class")
    with pytest.raises(OutputError, match="keeps class string, this run no columns"):
        sync(folder, output, weights)
    assert output.read_bytes() == data
    run = invoke("embed", folder, "-o", output, "--sync", "--append")
    assert run.exit_code == 2
    assert "only one of" in run.stderr
    (folder / "b" / "1.jpg").unlink()
    common = ("-w", "seeded:7", "--size", "32", "--keep", "class")
    run = invoke("embed", folder, "-o", output, "--sync", *common)
    assert "0 new, 0 changed, 1 gone, 1 as they were" in run.stderr


def test_pictures_below_a_folder_that_cannot_be_listed_are_not_gone(
    tmp_path: Path, weights: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, output = tmp_path / "p", tmp_path / "f.parquet"
    for name in ("a/0.jpg", "b/1.jpg"):
        picture(folder / name, 1)
    sync(folder, output, weights)
    listed = os.scandir

    def scandir(path: bytes | str | int) -> object:
        if isinstance(path, bytes) and path.rstrip(b"/").endswith(b"/b"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    done = sync(folder, output, weights)
    assert done.failures == 1
    assert set(nasnet.read_features(output).ids) == {"a/0.jpg", "b/1.jpg", "b/"}
    monkeypatch.undo()
    assert counts(sync(folder, output, weights)) == (2, 0, 0, 1)


def test_a_picture_has_changed_by_its_size_or_its_time(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", 1)
    size = (tmp_path / "a.jpg").stat().st_size
    (item,) = open_source(tmp_path)
    assert not has_changed(item, size, LONG_AGO + 1)
    assert has_changed(item, size, LONG_AGO)
    assert has_changed(item, size - 1, LONG_AGO + 1)
    assert has_changed(item, None, LONG_AGO + 1)
    (tmp_path / "a.jpg").unlink()
    assert has_changed(item, size, LONG_AGO + 1)
    # Bytes that lie elsewhere have a size alone.
    assert not has_changed(Item("x", lambda: b"12345"), 5, 0)
    assert has_changed(Item("x", lambda: b"123456"), 5, 0)
    assert has_changed(Item("x", lambda: np.zeros((5, 5, 3), np.uint8)), 75, 0)
    assert not has_changed(Item("x", refusal("HTTP 503")), 5, 0)


def stopped(folder: Path, output: Path, weights: Opened, *, mode: Mode, after: int) -> None:
    """A run that ends by Ctrl-C after some pictures."""

    def stop(event: EmbedEvent) -> None:
        if event.done - event.resumed == after:
            raise KeyboardInterrupt

    one_by_one = EngineOptions(batch_size=1, threads=1)
    options = EmbedOptions(size=(32, 32), engine=one_by_one, sink=SinkOptions(mode=mode))
    with pytest.raises(KeyboardInterrupt):
        nasnet.embed_to_file(folder, output, weights=weights, options=options, on_event=stop)


@pytest.mark.parametrize("ending", [".parquet", ".npy"])
def test_a_folder_that_grew_while_a_run_was_stopped_costs_no_vector(
    tmp_path: Path, weights: Opened, ending: str
) -> None:
    folder, output = tmp_path / "p", tmp_path / f"f{ending}"
    for number in range(4):
        picture(folder / f"{number}.jpg", number)
    stopped(folder, output, weights, mode="resume", after=2)
    picture(folder / "00.jpg", 9)  # before all others
    asked = ("embed", folder, "-o", output, "-w", "seeded:7", "--size", "32")
    refused = invoke(*asked)
    assert "--sync keeps what still holds" in refused.stderr
    again = invoke(*asked, "--sync")
    assert again.exit_code == 0, again.output
    assert "continued after 2 rows" in again.stderr
    assert sorted(nasnet.read_features(output).ids) == sorted(one.name for one in folder.iterdir())
    # A set that is there is worth more than what was being added to it.
    for number in range(10, 14):
        picture(folder / f"{number}.jpg", number)
    stopped(folder, output, weights, mode="append", after=2)
    picture(folder / "000.jpg", 8)
    (folder / "11.jpg").unlink()
    refused = invoke(*asked)
    assert "--append is unfinished" in refused.stderr
    done = invoke(*asked, "--append")
    assert done.exit_code == 0, done.output
    assert "continued after 2 rows" in done.stderr
    found = nasnet.read_features(output)
    assert sorted(found.ids) == sorted([*(one.name for one in folder.iterdir()), "11.jpg"])
    assert np.isfinite(found.vectors).all()


def test_what_a_stopped_overwrite_has_is_not_promised_to_a_sync(
    tmp_path: Path, weights: Opened
) -> None:
    folder, output = tmp_path / "p", tmp_path / "f.parquet"
    for number in range(3):
        picture(folder / f"{number}.jpg", number)
    sync(folder, output, weights)
    stopped(folder, output, weights, mode="overwrite", after=2)
    picture(folder / "00.jpg", 9)
    refused = invoke("embed", folder, "-o", output, "-w", "seeded:7", "--size", "32")
    assert "has changed since the run began" in refused.stderr
    assert "--sync" not in refused.stderr
