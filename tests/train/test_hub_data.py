"""Labelled data of the Hugging Face Hub, by its real client from a stand-in on loopback."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import nasnet
from nasnet.errors import FetchError, SourceError
from nasnet.pictures.sources import SourceOptions, open_source
from nasnet.train.finetune import labelled_files
from nasnet.train.labelled_data import on_this_machine, open_labelled, open_splits
from tests.support.hub_server import HubServer, hub_on_loopback

pytest.importorskip("huggingface_hub")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with hub_on_loopback(tmp_path, monkeypatch) as server:
        yield server


def picture(seed: int, shade: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 60, (40, 40, 3))
    file = io.BytesIO()
    Image.fromarray((noise + shade).astype(np.uint8)).save(file, "png")
    return file.getvalue()


def table(seed: int, count: int) -> bytes:
    """A Parquet file as `Dataset.push_to_hub` writes it: pictures as structs, names of classes."""
    labels = [row % 2 for row in range(count)]
    images = [
        {"bytes": picture(seed + row, 150 * label), "path": f"{seed + row}.png"}
        for row, label in enumerate(labels)
    ]
    features = {
        "image": {"_type": "Image"},
        "label": {"names": ["dark", "light"], "_type": "ClassLabel"},
    }
    described = {"huggingface": json.dumps({"info": {"features": features}})}
    columns = pa.table({"image": images, "label": pa.array(labels, pa.int64())})
    file = io.BytesIO()
    pq.write_table(columns.replace_schema_metadata(described), file)
    return file.getvalue()


def parquets() -> dict[str, bytes]:
    return {
        "README.md": b"# Shades",
        "shades.py": b"raise SystemExit('code of a repository was run')",
        "data/train-00000-of-00002.parquet": table(0, 12),
        "data/train-00001-of-00002.parquet": table(100, 8),
        "data/test-00000-of-00001.parquet": table(200, 6),
    }


def test_a_download_that_broke_off_is_not_taken_for_all_of_it(hub: HubServer) -> None:
    hub.datasets["me/shades"] = parquets()
    hub.refused.add("data/train-00001-of-00002.parquet")
    with pytest.raises(FetchError, match="cannot be had"):
        on_this_machine("hf://datasets/me/shades")
    offline = nasnet.FetchOptions(offline=True)
    with pytest.raises(FetchError, match="cannot be had"):
        on_this_machine("hf://datasets/me/shades", offline)
    hub.refused.clear()
    on_this_machine("hf://datasets/me/shades")
    assert len(open_labelled("hf://datasets/me/shades", fetch=offline).train) == 20


def test_tables_of_the_hub_are_labelled_data(
    hub: HubServer, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.datasets["me/shades"] = parquets()
    found = open_labelled("hf://datasets/me/shades")
    assert found.name == "hf://datasets/me/shades"
    assert found.classes == ("dark", "light")
    assert (len(found.train), len(found.validation)) == (20, 6)
    assert found.train[1].label == 1
    assert found.train[1].read() == picture(1, 150)
    assert capfd.readouterr() == ("", ""), "only the command line draws"
    # What is in the cache needs no network.
    hub.datasets.clear()
    offline = nasnet.FetchOptions(offline=True)
    again = open_labelled("hf://datasets/me/shades", fetch=offline)
    assert again.fingerprint == found.fingerprint


def test_class_folders_of_the_hub_and_parts_of_them(hub: HubServer) -> None:
    hub.datasets["me/folders"] = {
        f"{part}/{name}/{number}.png": picture(number, shade)
        for part in ("small", "large")
        for name, shade in (("dark", 0), ("light", 150))
        for number in range(5)
    }
    place = Path(on_this_machine("hf://datasets/me/folders@main/small/"))
    assert sorted(one.name for one in place.iterdir()) == ["dark", "light"]
    assert not place.with_name("large").exists(), "only what is meant is downloaded"
    found = open_labelled("hf://datasets/me/folders@main/small")
    assert found.classes == ("dark", "light")
    assert len(found.train) + len(found.validation) == 10
    # They are files of the cache, so corrected labels of them can be saved.
    labelled = labelled_files(found, place)
    assert len(labelled.rows) == 10
    assert all(Path(labelled.folder, id).parent.name == name for id, name, _ in labelled.rows)


def test_data_split_in_two_ways_are_asked_for_once(hub: HubServer) -> None:
    hub.datasets["me/shades"] = parquets()
    told: list[str] = []
    measured, tested = open_splits(
        "hf://datasets/me/shades",
        ("validation", "test"),
        on_fetch=lambda event: told.append(event.kind),
    )
    assert told.count("start") == 1
    assert measured.name == tested.name == "hf://datasets/me/shades"
    assert len(tested.validation) == 6
    assert not {one.id for one in tested.validation} & {one.id for one in measured.validation}


@pytest.mark.parametrize("revision", ["refs/convert/parquet", "refs/pr/7", "wip%2Fparquet"])
def test_a_revision_may_have_slashes(hub: HubServer, revision: str) -> None:
    """The Hub keeps its own Parquet files of every data set at refs/convert/parquet."""
    hub.datasets["me/shades"] = parquets()
    found = open_labelled(f"hf://datasets/me/shades@{revision}/data/test-*.parquet")
    assert len(found.train) + len(found.validation) == 6
    cached = [path for path in hub.asked if "/revision/" in path]
    assert cached[0].endswith(f"/revision/{revision.replace('/', '%2F')}")


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("hf://datasets/shades", SourceError, "names no data set: write hf://datasets/USER/NAME"),
        ("hf://datasets/me/none", FetchError, "me/none cannot be had from the Hugging Face Hub: 4"),
        ("hf://datasets/me/shades/valid", SourceError, "the data set holds no valid"),
        ("hf://datasets/me/shades/../..", SourceError, "leads out of the data set"),
        ("hf://datasets/me/shades/data**", SourceError, r"not a pattern of files: .*\*\*"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(
    hub: HubServer, name: str, error: type[Exception], text: str
) -> None:
    hub.datasets["me/shades"] = parquets()
    with pytest.raises(error, match=text) as caught:
        open_labelled(name)
    assert "\n" not in str(caught.value)


def test_a_module_is_tuned_and_judged_by_data_of_the_hub(hub: HubServer, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    hub.datasets["me/shades"] = parquets()
    options = nasnet.FinetuneOptions(size=(32, 32))
    tuned = nasnet.finetune(
        "hf://datasets/me/shades", tmp_path / "tuned", weights="seeded:3@cifar", options=options
    )
    assert tuned.evaluation.scores.count == 6
    judged = nasnet.evaluate(tmp_path / "tuned", "hf://datasets/me/shades/data/test-*.parquet")
    assert judged.scores.top1 == tuned.evaluation.scores.top1


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("folders/small", ["a/0.png", "a/1.png", "b/0.png"]),
        ("folders/small/*/0.png", ["a/0.png", "b/0.png"]),
        ("shades/data/test-*.parquet", ["200.png", "201.png", "202.png"]),
    ],
)
def test_pictures_of_the_hub_are_a_source(hub: HubServer, where: str, ids: list[str]) -> None:
    names = ("a/0.png", "a/1.png", "b/0.png")
    hub.datasets["me/folders"] = {f"small/{name}": picture(5, 0) for name in names}
    hub.datasets["me/shades"] = parquets()
    options = SourceOptions(storage_options={"endpoint": hub.url, "skip_instance_cache": True})
    found = list(open_source(f"hf://datasets/me/{where}", options=options))
    assert [item.id[-len(id) :] for item, id in zip(found, ids, strict=False)] == ids
    assert Image.open(io.BytesIO(found[0].read())).size == (40, 40)


def test_downloads_are_told_as_they_come(hub: HubServer) -> None:
    hub.datasets["me/shades"] = parquets()
    told: list[nasnet.FetchEvent] = []
    open_labelled("hf://datasets/me/shades", on_fetch=told.append)
    assert [told[0].kind, told[-1].kind] == ["start", "done"]
    assert {event.url for event in told} == {"hf://datasets/me/shades"}
    done = [event.done_bytes for event in told[1:-1]]
    assert done == sorted(done)
    assert done[-1] == sum(map(len, parquets().values()))
