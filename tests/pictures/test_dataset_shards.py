"""Labelled samples in WebDataset tars."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from nasnet.errors import PictureError, SourceError
from nasnet.pictures.sources import open_dataset, open_examples
from nasnet.pictures.sources.webdataset import expand_braces
from tests.support.labelled import PICTURES, failure, listed, read_all


def a_tar(
    path: Path, members: Mapping[str, bytes] | Sequence[tuple[str, bytes]], mode: str = "w"
) -> Path:
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for name, data in members.items() if isinstance(members, Mapping) else members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def samples(count: int = 4, first: int = 0) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for n in range(first, first + count):
        found |= {f"{n:04}.jpg": PICTURES[n], f"{n:04}.cls": b"%d\n" % (n % 2)}
    return found


def test_a_tar_of_samples(tmp_path: Path) -> None:
    path = a_tar(tmp_path / "t.tar", {"._0000.jpg": b"x", "notes.txt": b"x", **samples(12)})
    classes, examples, notes = open_examples(path)
    assert (classes, notes) == (("0", "1"), ())
    assert [example.id for example in examples] == [f"{n:04}.jpg" for n in range(12)]
    assert read_all(examples) == PICTURES
    (tmp_path / "classes.txt").write_text("zebra\nant\n\n")
    assert open_examples(path)[0] == ("zebra", "ant")
    (tmp_path / "classes.txt").write_text("zèbre\nant\n", "utf-16")
    assert open_examples(path)[0] == ("zèbre", "ant")
    (tmp_path / "classes.txt").write_text("zèbre\nant\n", "cp1252")
    assert "classes.txt: cannot be read: line 1 is not UTF-8: save it as UTF-8" in failure(path)
    (tmp_path / "classes.txt").write_text("zebra\n")
    assert "label 1, but there are 1 class names" in failure(path)
    path.unlink()
    with pytest.raises(PictureError, match="the archive cannot be read"):
        examples[0].read()


def test_labels_may_be_in_json_and_names(tmp_path: Path) -> None:
    members = {
        "a/x.y.jpg": b"not one: its ending is y.jpg",
        "a/1.PNG": PICTURES[0],
        "a/1.json": b'{"label": "cow", "kind": 3}',
        "2.json": b'{"cls": "ant", "kind": 4}',
        "2.jpg": PICTURES[1],
        "2.png": PICTURES[2],
        "3.jpg": PICTURES[3],
        "4.cls": b"ant",
    }
    path = a_tar(tmp_path / "t.tar", members)
    assert listed(path) == [("a/1.PNG", "cow"), ("2.jpg", "ant")]
    assert listed(path, column="png") == [("a/1.PNG", "cow"), ("2.png", "ant")]
    assert listed(path, label_column="kind") == [("a/1.PNG", "3"), ("2.jpg", "4")]
    notes = open_dataset(path).notes
    assert f"1 sample without a picture in {path} left out" in notes
    assert "1 row without a label left out" in notes


def test_of_two_members_of_one_name_the_later_counts(tmp_path: Path) -> None:
    members = [*samples(2).items(), ("0000.jpg", PICTURES[5]), ("0000.cls", b"7")]
    classes, examples, _ = open_examples(a_tar(tmp_path / "t.tar", members))
    assert [(one.id, classes[one.label]) for one in examples] == [
        ("0000.jpg", "7"),
        ("0001.jpg", "1"),
    ]
    assert examples[0].read() == PICTURES[5]


def test_shards_as_a_folder_or_pattern(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("zebra\nant\n")
    for number in range(3):
        a_tar(tmp_path / f"s-{number:03}.tar", samples(4, first=4 * number))
    expected = [f"s-{n // 4:03}.tar/{n:04}.jpg" for n in range(12)]
    for spec in (tmp_path, f"{tmp_path}/s-{{000..002}}.tar", f"{tmp_path}/s-*.tar"):
        classes, examples, _ = open_examples(spec)
        assert classes == ("zebra", "ant")
        assert [example.id for example in examples] == expected
        assert read_all(examples) == PICTURES
    assert "no such file" in failure(f"{tmp_path}/s-{{000..003}}.tar")


def test_shards_may_be_split_by_their_names(tmp_path: Path) -> None:
    for name in ("x-train-0.tar", "x-train-1.tar", "x-val-0.tar"):
        a_tar(tmp_path / name, samples())
    data = open_dataset(tmp_path)
    assert [len(data.train), len(data.validation)] == [8, 4]
    (tmp_path / "low" / "train").mkdir(parents=True)
    (tmp_path / "low" / "val").mkdir()
    for name in ("train", "val"):
        a_tar(tmp_path / "low" / name / "0.tar", samples())
    data = open_dataset(tmp_path / "low")
    assert data.validation[0].id == "val/0.tar/0000.jpg"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"cat/1.jpg": b"x", "dog/2.jpg": b"x"},
            "none of its 2 pictures has a label; in a WebData",
        ),
        ({"1.cls": b"1"}, "no pictures in it"),
        ({"1.jpg": b"x", "1.cls": b"0.5"}, "t.tar/1.cls: label 0.5 is a float"),
        ({"1.jpg": b"x", "1.cls": b"\xff"}, "damaged"),
        ({"1.jpg": b"x", "1.cls": b"\xe9t\xe9"}, "1.cls: damaged: line 1 is not UTF-8: save it"),
        ({"1.jpg": b"x", "1.json": b"{"}, "t.tar/1.json: damaged: "),
        ({"1.jpg": b"x", "1.json": b"[1]"}, "a JSON object was expected"),
        ({"1.jpg": b"x", "1.json": b'{"label": [1]}'}, "a label of type list"),
        ({"1.jpg": b"x", "1.json": b'{"label": 1.0}'}, "label 1.0 is a float"),
        ({"1.jpg": b"x", "1.cls": b"1", "2.jpg": b"x", "2.cls": b"a"}, "some labels are names (a)"),
    ],
)
def test_bad_samples_are_refused(members: dict[str, bytes], message: str, tmp_path: Path) -> None:
    assert message in failure(a_tar(tmp_path / "t.tar", members))


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_tar_is_refused(mode: str, tmp_path: Path) -> None:
    path = a_tar(tmp_path / f"t.tar.{mode[2:]}", samples(), mode)
    for spec in (path, path.rename(tmp_path / "t.tar")):
        assert "decompress it first" in failure(spec if spec.exists() else tmp_path)


def test_a_tar_cut_off_is_refused_or_its_last_picture_says_so(tmp_path: Path) -> None:
    path = a_tar(tmp_path / "t.tar", samples(2))
    whole = path.read_bytes()
    for size in range(0, 4 * 1024, 300):
        path.write_bytes(whole[:size])
        text = failure(path)
        assert "t.tar" in text


@settings(deadline=None, max_examples=100)
@given(st.text(st.sampled_from("a{},.0129-"), max_size=12))
def test_braces_always_come_to_an_end(pattern: str) -> None:
    try:
        names = expand_braces(pattern)
    except SourceError:
        return
    assert len(set(names)) == len(names) > 0


def test_braces_stand_for_what_the_shell_makes_of_them() -> None:
    assert expand_braces("a-{08..11}.tar") == [f"a-{n}.tar" for n in ("08", "09", "10", "11")]
    assert expand_braces("{b,a}{1..0}") == ["b1", "b0", "a1", "a0"]
    assert expand_braces("{a,{1..2}}x{y}") == ["ax{y}", "1x{y}", "2x{y}"]
    with pytest.raises(SourceError, match="more than 100000"):
        expand_braces("{0..99999999999}")
