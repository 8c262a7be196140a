"""Labelled tables: CSV, Parquet, Arrow, and the folders that Hugging Face saves."""

from __future__ import annotations

import io
import json
import random
import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from nasnet.errors import PictureError, SourceError
from nasnet.pictures.sources import DatasetOptions, open_dataset, open_examples, open_source
from tests.support.labelled import PICTURES, failure, listed, read_all

NAMES = ["zebra", "ant"]
FEATURES = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def a_table(count: int = 12, **columns: Any) -> pa.Table:
    pictures = [{"bytes": data, "path": f"{n}.jpg"} for n, data in enumerate(PICTURES[:count])]
    return pa.table(
        {
            "image": pa.array(pictures, STRUCT),
            "label": pa.array([n % 2 for n in range(count)]),
            **columns,
        }
    )


def described(table: pa.Table, features: Any = FEATURES) -> pa.Table:
    text = json.dumps({"info": {"features": features}})
    return table.replace_schema_metadata({"huggingface": text})


def write_stream(path: Path, table: pa.Table, rows: int = 5, **options: Any) -> Path:
    with pa.ipc.new_stream(path, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path


# CSV


def a_csv(root: Path, text: str, name: str = "t.csv") -> Path:
    for number, data in enumerate(PICTURES):
        (root / f"{number}.jpg").write_bytes(data)
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def test_a_csv_names_pictures_and_classes(tmp_path: Path) -> None:
    path = a_csv(
        tmp_path, "\ufefffile,label\n3.jpg, cow \n1.jpg,ant\n\ngone.jpg,ant\n,cow\n2.jpg\n"
    )
    data = open_dataset(path, options=DatasetOptions(validation_fraction=0))
    assert data.classes == ("ant", "cow")
    assert listed(path) == [("3.jpg", "cow"), ("1.jpg", "ant"), ("gone.jpg", "ant"), ("3", "cow")]
    assert data.train[0].read() == PICTURES[3]
    for example, reason in ((data.train[2], "no such file"), (data.train[3], "names no picture")):
        with pytest.raises(PictureError, match=reason):
            example.read()
    assert data.notes == ("1 row without a label left out",)


def test_a_path_may_lead_anywhere_as_in_sources(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    a_csv(tmp_path, "")
    path = tmp_path / "sub" / "t.tsv"
    path.write_text(f"path\tkind\n../0.jpg\tx\n{tmp_path}/1.jpg\ty\n")
    data = open_dataset(path, options=DatasetOptions(label_column="kind"))
    assert read_all(data.train) == PICTURES[:2]


def test_integers_of_a_csv_keep_their_order(tmp_path: Path) -> None:
    rows = "".join(f"{n}.jpg,{label}\n" for n, label in enumerate([10, 9, -1, 10]))
    assert open_dataset(a_csv(tmp_path, "path,label\n" + rows)).classes == ("-1", "9", "10")
    rows = rows.replace("9", "009")
    assert open_dataset(a_csv(tmp_path, "path,label\n" + rows)).classes == ("-1", "009", "10")


def test_a_column_called_split_is_the_split(tmp_path: Path) -> None:
    lines = [f"{n}.jpg,{n % 2},{split}" for n, split in enumerate(["train"] * 4 + ["val"] * 2)]
    data = open_dataset(a_csv(tmp_path, "\n".join(["path,label,split", *lines, "6.jpg,0,Test"])))
    assert [len(data.train), len(data.validation)] == [4, 2]
    assert "1 picture of the data's test split left out" in data.notes
    path = a_csv(tmp_path, "path,label,split\n0.jpg,a,fold 1\n")
    assert "'split' says 'fold 1' in a row; it may say train, validation, val" in failure(path)
    path = a_csv(tmp_path, "path,label,split\n0.jpg,a,val\n1.jpg,b,test\n")
    assert "it has the splits validation, test, but no train" in failure(path)


def test_a_picture_named_twice_is_taken_once(tmp_path: Path) -> None:
    path = a_csv(tmp_path, "path,label\n0.jpg,a\n1.jpg,b\n0.jpg,a\n")
    assert listed(path) == [("0.jpg", "a"), ("1.jpg", "b")]
    assert open_dataset(path).notes[0] == "1 row naming a picture of a row before left out"
    path = a_csv(tmp_path, "path,label\n0.jpg,a\n1.jpg,b\n0.jpg,b\n")
    assert failure(path).endswith("0.jpg is a in row 1 and b in row 3; a picture has one class")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,kind\n0.jpg,a\n", "no column 'label' for labels; it has path, kind"),
        ("where,label\n0.jpg,a\n", "name the column with the paths; it has where, label"),
        ("path,label\n", "no rows below its header"),
        ("", "it is empty"),
        ("path,label,label\n0.jpg,a,b\n", "several columns 'label'"),
        ("path,label\n0.jpg,\n1.jpg,\n", "none of its 2 rows has a label"),
        ("path,label\n0.jpg,0\n1.jpg,1.5\n", "label 1.5 is a float; a class is text or an integer"),
        ("path,label\n0.jpg,a\n1.jpg,a\n", "only one class (a)"),
        (f"path,label\n{'x' * 200_000},a\n", "cannot be read: field larger than"),
    ],
)
def test_a_bad_csv_is_refused(text: str, message: str, tmp_path: Path) -> None:
    assert message in failure(a_csv(tmp_path, text))


# Parquet and Arrow

WRITERS: Mapping[str, Callable[[Path, pa.Table], Any]] = {
    "parquet": lambda path, table: pq.write_table(table, path, row_group_size=5),
    "feather, compressed": lambda path, table: pyarrow.feather.write_feather(
        table, str(path), compression="zstd", chunksize=5
    ),
    "feather": lambda path, table: pyarrow.feather.write_feather(
        table, str(path), compression="uncompressed", chunksize=5
    ),
    "stream": write_stream,
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("struct", [True, False])
def test_tables_are_read_in_any_order(writer: str, struct: bool, tmp_path: Path) -> None:
    table = a_table()
    if not struct:
        table = table.set_column(0, "image", pa.array(PICTURES))
    WRITERS[writer](tmp_path / "t", table)
    classes, examples, _ = open_examples(tmp_path / "t")
    assert classes == ("0", "1")
    assert [example.label for example in examples] == [0, 1] * 6
    assert [example.id for example in examples] == [f"{n}{'.jpg' * struct}" for n in range(12)]
    assert read_all(examples) == PICTURES


@pytest.mark.parametrize("writer", WRITERS)
def test_rows_without_bytes_name_a_file_or_nothing(writer: str, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(PICTURES[0])
    rows = [{"path": "x.jpg"}, None, {"bytes": b"", "path": None}, {"bytes": PICTURES[1]}]
    table = pa.table({"image": pa.array(rows, STRUCT), "label": ["a", "b", "a", "b"]})
    WRITERS[writer](tmp_path / "t", table)
    _, examples, _ = open_examples(tmp_path / "t")
    assert [example.id for example in examples] == ["x.jpg", "1", "2", "3"]
    assert examples[0].read() == PICTURES[0]
    assert examples[3].read() == PICTURES[1]
    for example in examples[1:3]:
        with pytest.raises(PictureError, match="the row has no picture"):
            example.read()


@pytest.mark.parametrize("writer", WRITERS)
def test_tables_may_name_files(writer: str, tmp_path: Path) -> None:
    a_csv(tmp_path, "")
    table = pa.table({"key": ["k", "l", "m"], "path": ["0.jpg", "1.jpg", None], "label": [1, 2, 1]})
    WRITERS[writer](tmp_path / "t", table)
    assert listed(tmp_path / "t") == [("0.jpg", "1"), ("1.jpg", "2"), ("2", "1")]
    assert listed(tmp_path / "t", column="key")[0] == ("k", "1")
    assert read_all(open_examples(tmp_path / "t")[1][:2]) == PICTURES[:2]


LABELS = (
    (pa.array(["b", "a", "b"]), ("a", "b")),
    (pa.array(["b", "a", "b"]).dictionary_encode(), ("a", "b")),
    (pa.array([10, 9, 10], pa.uint8()), ("9", "10")),
    (pa.array([True, False, True]), ("false", "true")),
    (pa.array(["b", None, "a"], pa.large_string()), ("a", "b")),
)


@pytest.mark.parametrize(("values", "classes"), LABELS, ids=str)
def test_labels_of_a_column(values: pa.Array, classes: tuple[str, ...], tmp_path: Path) -> None:
    table = a_table(3).set_column(1, "label", values)
    pq.write_table(table, tmp_path / "t.parquet")
    data = open_dataset(tmp_path / "t.parquet", options=DatasetOptions(validation_fraction=0))
    assert data.classes == classes
    assert ("1 row without a label left out" in data.notes) == (values.null_count == 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array([0.0, 1.0]), "label column 'label' holds floats (double); a class is text"),
        (pa.array([[1], [2]]), "label column 'label' is list<"),
        (pa.nulls(2), "none of its 2 rows has a label"),
    ],
)
def test_labels_that_are_no_classes_are_refused(
    values: pa.Array, message: str, tmp_path: Path
) -> None:
    pq.write_table(a_table(2).set_column(1, "label", values), tmp_path / "t.parquet")
    assert message in failure(tmp_path / "t.parquet")


def test_a_missing_label_column_lists_those_there(tmp_path: Path) -> None:
    path = write_stream(tmp_path / "t.arrow", a_table().rename_columns(["image", "kind"]))
    text = failure(path)
    assert re.search(
        r"no column 'label' for labels; it has image \(struct<.*>\), kind \(int64\)", text
    )
    assert "no column 'x' with encoded pictures" in failure(path, label_column="kind", column="x")


def test_ids_that_repeat_are_made_unique(tmp_path: Path) -> None:
    rows = [{"bytes": data, "path": "same.jpg"} for data in PICTURES[:3]]
    table = a_table(3).set_column(0, "image", pa.array(rows, STRUCT))
    pq.write_table(table, tmp_path / "t.parquet")
    names = [name for name, _ in listed(tmp_path / "t.parquet")]
    assert names == ["same.jpg", "same.jpg#2", "same.jpg#3"]


def test_parquet_of_hugging_face_names_its_classes(tmp_path: Path) -> None:
    pq.write_table(described(a_table()), tmp_path / "t.parquet")
    data = open_dataset(tmp_path / "t.parquet")
    assert data.classes == tuple(NAMES)
    assert open_examples(tmp_path / "t.parquet", classes=["ant", "x", "zebra"])[1][0].label == 2
    pq.write_table(described(a_table(), {"label": {"_type": "ClassLabel", "names": ["a", "a"]}}),
                   tmp_path / "t.parquet")  # fmt: skip
    assert "class names must differ; a is there twice" in failure(tmp_path / "t.parquet")


def test_a_folder_of_tables_is_read_by_the_names_of_its_files(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        pq.write_table(described(a_table(4)), tmp_path / f"{name}.parquet")
    data = open_dataset(tmp_path)
    assert [len(data.train), len(data.validation)] == [8, 4]
    assert data.train[0].id == "train-00000-of-00002.parquet/0.jpg"
    assert listed(f"{tmp_path}/test-*.parquet")[3] == ("test-00000-of-00001.parquet/3.jpg", "ant")
    pq.write_table(a_table(4), tmp_path / "train-00001-of-00002.parquet")
    assert "its class names differ from those of" in failure(tmp_path)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_table_damaged_anywhere_never_crashes(writer: str, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    WRITERS[writer](path, described(a_table()))
    whole = path.read_bytes()
    generator = random.Random(0)
    for _ in range(150):
        data = bytearray(whole)
        if generator.random() < 0.3:
            del data[generator.randrange(len(data)) :]
        else:
            for _ in range(8):
                data[generator.randrange(len(data))] = generator.randrange(256)
        path.write_bytes(data)
        for rows in (lambda: open_examples(path)[1], lambda: open_source(path)):
            try:
                for row in rows():
                    with suppress(PictureError):
                        assert isinstance(row.read(), bytes)
            except SourceError:
                continue


@pytest.mark.parametrize("writer", ["feather", "stream"])
def test_a_column_whose_name_is_no_text_is_refused(writer: str, tmp_path: Path) -> None:
    path = tmp_path / "t.arrow"
    WRITERS[writer](path, a_table(mask=pa.array(range(12))))
    path.write_bytes(path.read_bytes().replace(b"mask", b"m\xe9sk"))
    assert "t.arrow: not a readable table: 'utf-8' codec" in failure(path)
    with pytest.raises(SourceError, match="not a readable table"):
        open_source(path)


def test_a_compressed_stream_is_refused(tmp_path: Path) -> None:
    path = write_stream(tmp_path / "t.arrow", a_table(), compression="zstd")
    assert "a compressed Arrow stream can be read from its beginning only" in failure(path)


def test_without_room_to_unpack_pictures_are_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(a_table(), tmp_path / "t.parquet", row_group_size=5)
    _, examples, _ = open_examples(tmp_path / "t.parquet")

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() > 2000:
                raise OSError(28, "No space left on device")
            return super().write(data[:100])

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    _, examples, _ = open_examples(tmp_path / "t.parquet")
    assert read_all(examples) == PICTURES


# Hugging Face


def saved(root: Path, table: pa.Table, files: int = 1, features: Any = FEATURES) -> Path:
    """What `save_to_disk` writes."""
    root.mkdir(parents=True, exist_ok=True)
    names = [f"data-{number:05}-of-{files:05}.arrow" for number in range(files)]
    size = -(-table.num_rows // files)
    for number, name in enumerate(names):
        write_stream(root / name, table.slice(number * size, size), rows=2)
    (root / "state.json").write_text(json.dumps({"_data_files": [{"filename": n} for n in names]}))
    (root / "dataset_info.json").write_text(json.dumps({"citation": "", "features": features}))
    return root


@pytest.mark.parametrize("files", [1, 3])
def test_a_saved_dataset_is_read_without_their_library(files: int, tmp_path: Path) -> None:
    table = a_table().append_column("mask", pa.array([{"bytes": b"1"}] * 12, STRUCT))
    data = open_dataset(
        saved(tmp_path, table, files), options=DatasetOptions(validation_fraction=0)
    )
    assert data.classes == tuple(NAMES)
    assert [example.id for example in data.train] == [f"{n}.jpg" for n in range(12)]
    assert [example.label for example in data.train] == [0, 1] * 6
    assert read_all(data.train) == PICTURES


def test_rows_without_paths_are_numbered_through_all_files(tmp_path: Path) -> None:
    rows = pa.array([{"bytes": data} for data in PICTURES], STRUCT)
    saved(tmp_path, a_table().set_column(0, "image", rows), files=3)
    assert [name for name, _ in listed(tmp_path)] == [str(n) for n in range(12)]
    (tmp_path / "state.json").unlink()
    assert len(listed(tmp_path)) == 12


def test_a_saved_dictionary_brings_its_split(tmp_path: Path) -> None:
    for split in ("train", "test", "unsupervised"):
        saved(tmp_path / split, a_table(6))
    splits = ["train", "test", "unsupervised"]
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
    data = open_dataset(tmp_path)
    assert [example.id for example in data.train] == [f"train/{n}.jpg" for n in range(6)]
    assert [example.id for example in data.validation] == [f"test/{n}.jpg" for n in range(6)]
    assert any(one.endswith("left out: unsupervised") for one in data.notes)
    assert len(open_dataset(tmp_path / "test").train) == 4


def test_classes_nobody_shows_and_labels_nobody_knows(tmp_path: Path) -> None:
    features = {**FEATURES, "label": {"names": ["x", *NAMES], "_type": "ClassLabel"}}
    table = a_table(5).set_column(1, "label", pa.array([1, 2, -1, 1, 2]))
    data = open_dataset(saved(tmp_path, table, features=features))
    assert data.classes == ("x", *NAMES)
    assert "1 row without a label left out" in data.notes
    assert "1 class without pictures to train on: x" in data.notes
    table = table.set_column(1, "label", pa.array([0, 1, 2, 3, 0]))
    text = failure(saved(tmp_path, table, features=features))
    assert "label 3, but there are 3 class names (0 to 2)" in text


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("state.json", b"{", "state.json: damaged: "),
        ("state.json", b"[]", "state.json: damaged: a JSON object was expected"),
        ("state.json", b"{}", "damaged: '_data_files' is to name the .arrow files beside it"),
        (
            "state.json",
            b'{"_data_files": [{"filename": "../x.arrow"}]}',
            "'_data_files' is to name",
        ),
        ("state.json", b'{"_data_files": [{"filename": "x.arrow"}]}', "x.arrow missing, but named"),
        ("state.json", b'{"_indices_data_files": [1]}', "save flatten_indices() of it"),
        ("dataset_info.json", b'{"features": []}', "'features' is to be an object"),
        ("dataset_info.json", b"\xff", "dataset_info.json: damaged: "),
        ("data-00000-of-00001.arrow", b"", "data-00000-of-00001.arrow: not a readable table: "),
        ("data-00000-of-00001.arrow", b"\xff" * 99, "arrow: not a readable table: "),
        ("dataset_dict.json", b'{"splits": "x"}', "'splits' is to be a list of folder names"),
        ("dataset_dict.json", b'{"splits": ["../x"]}', "'splits' is to be a list of folder names"),
        ("dataset_dict.json", b'{"splits": ["train"]}', "no such folder, but dataset_dict.json"),
    ],
)
def test_a_damaged_saved_dataset_is_refused(
    file: str, content: bytes, message: str, tmp_path: Path
) -> None:
    saved(tmp_path, a_table(4))
    (tmp_path / file).write_bytes(content)
    assert message in failure(tmp_path)
