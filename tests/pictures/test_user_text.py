"""Text that users wrote is read by its mark, else as UTF-8, else refused with what to do."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nasnet.errors import InputError, PictureError, SourceError
from nasnet.pictures.sources import DatasetOptions, SourceOptions, open_dataset, open_source
from nasnet.pictures.sources.files import list_source
from nasnet.text import read_json, read_toml, user_text
from tests.support.labelled import PICTURES, failure

MARKED = ("utf-8-sig", "utf-16", "utf-32")
UNMARKED = {  # as Python writes them with a mark, in the other order
    "utf-16 of big ends": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "utf-32 of big ends": lambda text: codecs.BOM_UTF32_BE + text.encode("utf-32-be"),
}
WRITERS: dict[str, Callable[[str], bytes]] = {
    "utf-8": str.encode,
    **{name: lambda text, name=name: text.encode(name) for name in MARKED},  # type: ignore[misc]
    **UNMARKED,
}
NAMES = ("chat été/écran.jpg", "плёнка.jpg", "写真.jpg")
REMEDY = "save it as UTF-8"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PICTURES[number])
    return tmp_path


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_of_any_marked_encoding_names_its_pictures(
    form: str, end: str, photos: Path
) -> None:
    data = WRITERS[form](end.join(["# photos", *NAMES, ""]))
    (photos / "list.txt").write_bytes(data)
    items = list(open_source(photos / "list.txt"))
    assert [item.id for item in items] == list(NAMES)
    assert [item.read() for item in items] == PICTURES[:3]

    class Slow(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            return super().read1(1)

    stream = list_source("-", lambda: Slow(data), str(photos), {}, once=True)
    assert [item.id for item in stream] == list(NAMES)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_list_of_utf16_without_its_mark_is_refused(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes("a.jpg\nb.jpg\n".encode(encoding))
    with pytest.raises(SourceError, match=f"list.txt: UTF-16 without its mark: {REMEDY}"):
        open_source(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_bytes("a.jpg\n".encode("utf-16")[:-1])
    with pytest.raises(SourceError, match="its mark says UTF-16, but "):
        open_source(tmp_path / "list.txt")


def test_a_list_of_another_encoding_is_a_reason_that_says_what_to_do(photos: Path) -> None:
    (photos / "list.txt").write_bytes(NAMES[0].encode("cp1252"))
    (item,) = open_source(photos / "list.txt")
    with pytest.raises(PictureError, match="no such file; the name is not UTF-8: save the list"):
        item.read()


@pytest.mark.skipif(os.name != "posix", reason="names are bytes")
def test_names_that_are_no_text_are_still_read_from_lists_and_tables(tmp_path: Path) -> None:
    name = "été.jpg".encode("cp1252")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(PICTURES[0])
    (tmp_path / "list.txt").write_bytes(name)
    (tmp_path / "t.csv").write_bytes(b"path,label\n" + name + b",x\n")
    for source in ("list.txt", "t.csv"):
        (item,) = open_source(tmp_path / source)
        assert item.read() == PICTURES[0]


@pytest.mark.parametrize("form", WRITERS)
def test_a_table_of_any_marked_encoding_names_its_classes(form: str, photos: Path) -> None:
    rows = [f"{name},{label}" for name, label in zip(NAMES, ("été", "кот", "été"), strict=True)]
    (photos / "t.csv").write_bytes(WRITERS[form]("\n".join(["path,label", *rows])))
    data = open_dataset(photos / "t.csv", options=DatasetOptions(validation_fraction=0))
    assert data.classes == ("été", "кот")
    assert [one.read() for one in data.train] == PICTURES[:3]
    assert [item.read() for item in open_source(photos / "t.csv")] == PICTURES[:3]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_the_delimiters_that_excel_writes_are_found(delimiter: str, photos: Path) -> None:
    """Semicolons where the comma divides decimals, tabs in what it calls Unicode text."""
    rows = (("path", "label", '"a, b"'), (NAMES[0], "a, b"), (NAMES[1], "c"))
    text = "".join(f"{delimiter.join(row)}\n" for row in rows)
    (photos / "t.csv").write_bytes(text.encode("utf-16"))
    assert open_dataset(photos / "t.csv").classes == ("a, b", "c")


def test_class_names_of_another_encoding_are_refused(photos: Path) -> None:
    path = photos / "t.csv"
    path.write_bytes("path,label,split\n0.jpg,chien,train\n1.jpg,chat été,train\n".encode("cp1252"))
    text = failure(path)
    assert f"'label' in row 2 is not UTF-8 (chat \\xe9t\\xe9): {REMEDY}" in text
    assert "iconv -f WINDOWS-1252 -t UTF-8" in text
    path.write_bytes("path,étiquette\n0.jpg,chien\n".encode("cp1252"))
    assert f"its header is not UTF-8: {REMEDY}" in failure(path, label_column="étiquette")
    path.write_bytes("path,label\n0.jpg,a\n".encode("utf-16-le"))
    assert f"its header is not UTF-8: {REMEDY}" in failure(path)
    path.write_bytes("path,key\n0.jpg,été\n".encode("cp1252"))
    with pytest.raises(SourceError, match="'key' in row 1 is not UTF-8"):
        open_source(path, options=SourceOptions(id_column="key"))


def test_other_texts_are_read_by_their_mark_or_refused(tmp_path: Path) -> None:
    for form, write in WRITERS.items():
        assert user_text(write("é\nß")) == "é\nß", form
    with pytest.raises(ValueError, match=f"line 2 is not UTF-8: {REMEDY}"):
        user_text("a\né".encode("cp1252"))
    with pytest.raises(ValueError, match=f"it has NUL characters.*: {REMEDY}"):
        user_text("ab".encode("utf-16-le"))


def test_documents_are_read_by_their_mark_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for form, write in WRITERS.items():
        path.write_bytes(write('name = "é"\n'))
        assert read_toml(path, InputError) == {"name": "é"}, form
        path.write_bytes(write('{"name": "é"}'))
        assert read_json(path, InputError) == {"name": "é"}, form
    path.write_bytes('{"name": "é"}'.encode("cp1252"))
    for reader in (read_json, read_toml):
        with pytest.raises(InputError, match=f"x: no .* not UTF-8: {REMEDY}"):
            reader(path, InputError)
