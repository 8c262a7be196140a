"""Labelled data: class folders, splits, what two runs see, and what is said of bad data."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from nasnet.errors import InputError, PictureError, SourceError
from nasnet.pictures.sources import Dataset, DatasetOptions, Example, open_dataset, open_examples
from nasnet.pictures.sources.examples import distinct
from nasnet.pictures.sources.item import Item
from nasnet.pictures.sources.splits import stratified
from tests.support.labelled import failure
from tests.support.pictures import jpeg
from tests.support.threads import at_once

PICTURE = jpeg(8, 8)


def write(root: Path, *names: str, data: bytes = PICTURE) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def zoo(root: Path, **counts: int) -> Path:
    """An image folder: so many pictures of each class."""
    return write(
        root, *(f"{name}/{n:03}.jpg" for name, count in counts.items() for n in range(count))
    )


def table(path: Path, *rows: str) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(row.split(",") for row in rows)
    return path


def ids(examples: tuple[Example, ...]) -> list[str]:
    return [example.id for example in examples]


def labels(data: Dataset) -> dict[str, str]:
    return {one.id: data.classes[one.label] for one in (*data.train, *data.validation)}


def note(data: Dataset, text: str) -> bool:
    return any(text in one for one in data.notes)


# Folders


def test_classes_are_the_first_folders_sorted(tmp_path: Path) -> None:
    write(tmp_path, "cat/a.jpg", "cat/deep/er/b.png", "ant/c.JPG", "ant/d.webp")
    data = open_dataset(tmp_path, options=DatasetOptions(validation_fraction=0))
    assert data.classes == ("ant", "cat")
    assert ids(data.train) == ["ant/c.JPG", "ant/d.webp", "cat/a.jpg", "cat/deep/er/b.png"]
    assert [example.label for example in data.train] == [0, 0, 1, 1]
    assert data.validation == ()
    assert data.notes == ()
    assert data.name == str(tmp_path)


def test_pictures_are_read_late_often_and_from_any_thread(tmp_path: Path) -> None:
    zoo(tmp_path, ant=2, bee=2)
    example = open_dataset(tmp_path).train[0]
    found: list[bytes] = []
    at_once(*[lambda: found.append(example.read())] * 4)
    assert found == [PICTURE] * 4
    (tmp_path / example.id).unlink()
    with pytest.raises(PictureError, match="no such file"):
        example.read()


def test_a_folder_with_train_and_val_brings_its_split(tmp_path: Path) -> None:
    for top in ("train", "val", "test"):
        zoo(tmp_path / top, ant=2, bee=1)
    data = open_dataset(tmp_path)
    assert ids(data.train) == ["train/ant/000.jpg", "train/ant/001.jpg", "train/bee/000.jpg"]
    assert ids(data.validation) == ["val/ant/000.jpg", "val/ant/001.jpg", "val/bee/000.jpg"]
    assert data.classes == ("ant", "bee")
    assert note(data, "the split of the data is used: 3 pictures to train on, 3 in validation")
    assert note(data, "3 pictures of the data's test split left out")
    assert not note(data, "class")


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val", "test"])
def test_any_usual_name_of_a_validation_folder_will_do(name: str, tmp_path: Path) -> None:
    zoo(tmp_path / "train", ant=2, bee=2)
    zoo(tmp_path / name, ant=1, bee=1)
    data = open_dataset(tmp_path)
    assert [len(data.train), len(data.validation)] == [4, 2]
    assert note(data, "2 in test to measure on") == (name == "test")


def test_train_alone_is_split(tmp_path: Path) -> None:
    zoo(tmp_path / "train", ant=5, bee=5)
    data = open_dataset(tmp_path)
    assert data.classes == ("ant", "bee")
    assert [len(data.train), len(data.validation)] == [8, 2]


def test_a_class_may_be_called_like_a_split(tmp_path: Path) -> None:
    zoo(tmp_path, train=2, bus=2, test=2)
    assert open_dataset(tmp_path).classes == ("bus", "test", "train")


def test_a_class_only_seen_in_validation_is_refused(tmp_path: Path) -> None:
    zoo(tmp_path / "train", ant=2, bee=2)
    zoo(tmp_path / "val", images=2)
    text = failure(tmp_path)
    assert "images is not among the 2 classes of the training pictures (ant, bee)" in text


def test_what_is_passed_over_is_said(tmp_path: Path) -> None:
    zoo(tmp_path, ant=4, bee=4, lone=1)
    write(tmp_path, "stray.jpg", "ant/notes.txt", ".hidden/x.jpg")
    (tmp_path / "empty").mkdir()
    data = open_dataset(tmp_path)
    assert data.classes == ("ant", "bee", "lone")
    assert data.notes == (
        "passed over 1 file that is not called like a picture: 1 .txt (--all-files takes them)",
        "1 picture in no class folder left out",
        "folders without pictures are no classes: empty",
        "1 class of one picture, trained on but not measured: lone",
    )
    everything = open_dataset(tmp_path, options=DatasetOptions(all_files=True))
    assert "ant/notes.txt" in labels(everything)


def test_folders_beside_the_splits_are_said(tmp_path: Path) -> None:
    zoo(tmp_path / "train", ant=2, bee=2)
    zoo(tmp_path / "val", ant=1)
    zoo(tmp_path / "extra", ant=1)
    assert note(open_dataset(tmp_path), "folders beside the splits left out: extra")


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_names_that_look_alike_are_one_class(tmp_path: Path) -> None:
    """macOS writes the names of files with decomposed letters, a table or a Linux user does not."""
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    root = zoo(tmp_path / "photos", **{composed: 2, decomposed: 2, " dog": 2, "dog ": 2})
    data = open_dataset(root, options=DatasetOptions(validation_fraction=0))
    assert data.classes == (composed, "dog")
    assert Counter(labels(data).values()) == {composed: 4, "dog": 4}
    write(tmp_path / "split", f"train/{decomposed}/1.jpg", f"val/{composed}/2.jpg", "train/b/3.jpg")
    assert open_dataset(tmp_path / "split").classes == (composed, "b")
    # a module that was made before has the name as the folder had it
    for classes in ((decomposed, "dog"), (composed, "dog")):
        known, examples, _ = open_examples(root, classes=classes, aliases=[("x", "y")])
        assert known == classes
        assert Counter(one.label for one in examples) == {0: 4, 1: 4}


def test_names_that_look_like_a_mistake_are_told(tmp_path: Path) -> None:
    root = zoo(tmp_path, Cat=2, cat=2, dog=2, nan=2)
    data = open_dataset(root)
    assert data.classes == ("Cat", "cat", "dog", "nan")
    assert note(data, "differ by capital letters alone stay apart: Cat, cat")
    assert note(data, "nan is taken for the name of a class: leave the label empty")


def test_names_that_are_not_utf8_are_classes_too(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        zoo(folder.parent, **{folder.name: 2, "ant": 2})
    except OSError:
        pytest.skip("this file system holds UTF-8 names only")
    data = open_dataset(tmp_path)
    assert data.classes == ("ant", r"caf\xe9")
    assert all(example.read() == PICTURE for example in data.train)


# Splitting


def a_class(*names: str, label: int = 0) -> tuple[Example, ...]:
    return tuple(Example(name, label, lambda: b"") for name in names)


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(st.text(max_size=5), st.integers(0, 3), min_size=1, max_size=40),
    st.floats(0, 0.99),
    st.integers(0, 3),
)
def test_every_class_gives_its_share(named: Mapping[str, int], fraction: float, seed: int) -> None:
    examples = tuple(Example(name, label, lambda: b"") for name, label in named.items())
    train, validation = stratified(examples, fraction, seed)
    assert sorted(ids(train) + ids(validation)) == sorted(named)
    assert list(train) == [example for example in examples if example in train]
    for label, count in Counter(named.values()).items():
        measured = sum(example.label == label for example in validation)
        assert count - measured >= 1
        assert (measured > 0) == (fraction > 0 and count > 1)
        assert abs(measured - count * fraction) <= 1


def test_the_split_hangs_on_the_seed_and_the_ids_alone() -> None:
    examples = a_class(*map(str, range(50)), label=0) + a_class(*map(str, range(50, 80)), label=1)
    _, first = stratified(examples, 0.2, 0)
    _, turned = stratified(examples[::-1], 0.2, 0)
    _, other = stratified(examples, 0.2, 1)
    assert set(ids(first)) == set(ids(turned)) != set(ids(other))
    assert len(first) == 16


def test_a_new_picture_moves_hardly_any_other() -> None:
    names = [f"{n}.jpg" for n in range(100)]
    _, before = stratified(a_class(*names), 0.2, 0)
    for n in range(20):
        _, after = stratified(a_class(*names, f"new{n}.jpg"), 0.2, 0)
        assert len(set(ids(before)) - set(ids(after))) <= 1


def test_the_fingerprint_tells_data_apart(tmp_path: Path) -> None:
    zoo(tmp_path, ant=5, bee=5)
    data = open_dataset(tmp_path)
    assert data.fingerprint == open_dataset(f"{tmp_path}/").fingerprint
    assert len(data.fingerprint) == 16
    assert int(data.fingerprint, 16) >= 0
    other = open_dataset(tmp_path, options=DatasetOptions(seed=1))
    (tmp_path / "ant" / "new.jpg").write_bytes(PICTURE)
    grown = open_dataset(tmp_path)
    assert len({data.fingerprint, other.fingerprint, grown.fingerprint}) == 3


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 20, float("nan")])
def test_a_share_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(InputError, match="validation_fraction is"):
        DatasetOptions(validation_fraction=fraction)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(["a", "a#2", "a#3", "b", "a#2#2"]), max_size=12))
def test_ids_become_unique_and_the_first_stays(names: list[str]) -> None:
    found = [row.id for row in distinct(Item(name, lambda: b"") for name in names)]
    assert len(set(found)) == len(names)
    for name in set(names):
        assert found[names.index(name)] == name


# A validation set apart, and everything as one list


def test_a_validation_set_apart_is_matched_by_name(tmp_path: Path) -> None:
    zoo(tmp_path / "data", ant=3, bee=3, cow=1)
    zoo(tmp_path / "held", cow=2)
    rows = ("path,label", "held/cow/000.jpg,cow", "held/cow/001.jpg,")
    for apart, count in ((tmp_path / "held", 2), (table(tmp_path / "t.csv", *rows), 1)):
        data = open_dataset(tmp_path / "data", options=DatasetOptions(validation=str(apart)))
        assert len(data.train) == 7
        assert [data.classes[example.label] for example in data.validation] == ["cow"] * count
        assert all(example.id.startswith(f"{apart.name}/") for example in data.validation)
        assert all(example.read() == PICTURE for example in data.validation)
        assert not note(data, "one picture")
    assert note(data, "1 row without a label left out")


def test_its_ids_never_meet_those_to_train_on(tmp_path: Path) -> None:
    write(tmp_path / "data", "held/ant/1.jpg", "bee/1.jpg")
    write(tmp_path / "held", "held/1.jpg", "held/ant/1.jpg", "ant/1.jpg")
    text = failure(tmp_path / "data", validation=str(tmp_path / "held"))
    assert "ant is not among the 2 classes of" in text
    (tmp_path / "held" / "ant" / "1.jpg").unlink()
    data = open_dataset(
        tmp_path / "data", options=DatasetOptions(validation=str(tmp_path / "held"))
    )
    assert len(labels(data)) == len(data.train) + len(data.validation) == 4


def test_the_datas_own_validation_gives_way(tmp_path: Path) -> None:
    zoo(tmp_path / "data" / "train", ant=2, bee=2)
    zoo(tmp_path / "data" / "val", ant=3, bee=3)
    zoo(tmp_path / "held", bee=1)
    options = DatasetOptions(validation=str(tmp_path / "held"))
    data = open_dataset(tmp_path / "data", options=options)
    assert ids(data.validation) == ["held/bee/000.jpg"]
    assert note(data, "6 pictures of the data's validation split left out")


def test_everything_as_one_list(tmp_path: Path) -> None:
    zoo(tmp_path / "train", ant=2, bee=1)
    zoo(tmp_path / "test", ant=1)
    classes, examples, notes = open_examples(tmp_path)
    assert classes == ("ant", "bee")
    assert len(examples) == 4
    assert notes == ("all splits of the data are taken together: test, train",)
    classes, examples, _ = open_examples(tmp_path / "test")
    assert classes == ("ant",)
    given = ("bee", "cow", "ant")
    classes, examples, _ = open_examples(tmp_path, classes=given)
    assert classes == given
    assert {example.label for example in examples} == {0, 2}
    with pytest.raises(SourceError, match=r"bee is not among the 2 classes of the network"):
        open_examples(tmp_path, classes=["ant", "cow"])


def test_integers_are_names_if_any_is_one_else_indices(tmp_path: Path) -> None:
    data = table(tmp_path / "t.csv", "path,label", "a.jpg,0", "b.jpg,2")

    def found(*classes: str) -> list[int]:
        return [example.label for example in open_examples(data, classes=classes)[1]]

    assert found("ant", "bee", "cow") == [0, 2]
    assert found("crane", "bee", "crane") == [0, 2]
    assert found("2", "1", "0") == [2, 0]
    with pytest.raises(SourceError, match=r"label 2, but there are 2 class names \(0 to 1\)"):
        found("ant", "bee")
    with pytest.raises(SourceError, match="2 is not among the 2 classes"):
        found("0", "1")


def test_integers_of_a_split_are_never_taken_for_indices(tmp_path: Path) -> None:
    lines = ("path,label,split", "a.jpg,1,train", "b.jpg,2,train", "c.jpg,0,val")
    assert "0 is not among the 2 classes" in failure(table(tmp_path / "t.csv", *lines))
    zoo(tmp_path / "data", ant=2, bee=2)
    apart = table(tmp_path / "v.csv", "path,label", "c.jpg,0")
    assert "0 is not among the 2 classes of" in failure(tmp_path / "data", validation=str(apart))


def test_a_name_of_two_classes_is_ambiguous(tmp_path: Path) -> None:
    zoo(tmp_path, crane=1)
    with pytest.raises(SourceError, match=r"2 classes of the network are called crane"):
        open_examples(tmp_path, classes=("crane", "ant", "crane"))


# Bad data


def nothing(root: Path) -> Path:
    return root / "none"


def flat(root: Path) -> Path:
    return write(root, "a.jpg", "b.jpg", "labels.csv")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (nothing, "none: no such file or folder"),
        (lambda root: root, "empty; expected a folder of class folders, a CSV, Parquet"),
        (lambda root: write(root, "a/x.txt"), "1 file, but no pictures; expected"),
        (flat, "its 2 pictures are in no class folders; expected"),
        (flat, r"<class>/<picture>.*; or give the table in it, .*/labels.csv"),
        (lambda root: write(root, "train/a.jpg", "val/b.jpg"), "are in no class folders"),
        (lambda root: zoo(root, ant=3), r"only one class \(ant\) has pictures to train on"),
        (lambda root: write(root, "a.jpg") / "a.jpg", "a.jpg: not labelled data; those are"),
        (lambda root: write(root, "a.zip", data=b"PK\3\4") / "a.zip", "unpack it"),
        (lambda _: "s3://bucket/x", "labelled data are read from this machine"),
        (lambda root: f"{root}/*.tar", "no file has such a name"),
        (lambda root: f"{root}/{{0..1}}.tar", r"no such file: .*0.tar, .*1.tar"),
        (lambda root: f"{write(root, 'a/1.jpg')}/a/*.jpg", "may stand for tars or for tables only"),
    ],
)
def test_what_cannot_be_used_is_said(
    make: Callable[[Path], Path | str], text: str, tmp_path: Path
) -> None:
    assert re.search(text, failure(make(tmp_path)))
