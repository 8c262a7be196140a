from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from nasnet.errors import WeightsError
from nasnet.weights.formats import protobuf, tf_checkpoint
from nasnet.weights.formats.tf_checkpoint.sstable import write_table
from tests.support.checkpoint_files import assert_same, copy_small, read_everything


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy_small(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["", "m", "m.index", "m.data-00000-of-00001"])
def test_a_checkpoint_is_found_by_folder_prefix_and_files(folder: Path, name: str) -> None:
    assert tf_checkpoint.is_checkpoint(folder / name)
    assert tf_checkpoint.resolve_prefix(folder / name) == folder / "m"
    assert tf_checkpoint.open_checkpoint(str(folder / name)).prefix == folder / "m"


@pytest.mark.parametrize(
    "state",
    [
        'model_checkpoint_path: "m-2"\nall_model_checkpoint_paths: "m"\n',
        'model_checkpoint_path: "/long/gone/m-2"\n',
        'all_model_checkpoint_paths: "m"\n model_checkpoint_path:"m\\0552"\n',
    ],
)
def test_a_state_file_names_the_newest_checkpoint(folder: Path, state: str) -> None:
    shutil.copyfile(folder / "m.index", folder / "m-2.index")
    (folder / "checkpoint").write_text(state)
    assert tf_checkpoint.resolve_prefix(folder) == folder / "m-2"
    assert tf_checkpoint.resolve_prefix(folder / "checkpoint") == folder / "m-2"
    assert tf_checkpoint.resolve_prefix(folder / "m") == folder / "m"


def test_a_state_file_of_a_renamed_checkpoint_is_no_obstacle_if_there_is_one(folder: Path) -> None:
    (folder / "checkpoint").write_text('model_checkpoint_path: "other"')
    assert tf_checkpoint.resolve_prefix(folder) == folder / "m"
    shutil.copyfile(folder / "m.index", folder / "m-2.index")
    with pytest.raises(WeightsError, match=r"names 'other', but other\.index is not there"):
        tf_checkpoint.resolve_prefix(folder)


def test_an_empty_state_file_is_refused(folder: Path) -> None:
    (folder / "checkpoint").write_text("")
    with pytest.raises(WeightsError, match="names no checkpoint"):
        tf_checkpoint.resolve_prefix(folder)


def test_several_checkpoints_in_a_folder_are_listed(folder: Path) -> None:
    for number in range(6):
        shutil.copyfile(folder / "m.index", folder / f"m-{number}.index")
    with pytest.raises(WeightsError, match=r"several checkpoints, name one: m, m-0, .* and 3 more"):
        tf_checkpoint.resolve_prefix(folder)


def test_a_checkpoint_may_itself_be_called_checkpoint(tmp_path: Path) -> None:
    tensors = {"v": np.zeros(2)}
    tf_checkpoint.write_checkpoint(tmp_path / "checkpoint", tensors)
    assert_same(read_everything(tmp_path / "checkpoint"), tensors)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "no such checkpoint"),
        ("nothing.index", "nothing.index is missing"),
        ("lost.data-00000-of-00001", "lost.index is missing"),
        ("empty", "holds no TensorFlow checkpoint"),
        ("notes.txt", "is not a TensorFlow checkpoint"),
        ("nul\0l", "no such checkpoint"),
        ("x" * 300, "cannot be read|no such checkpoint"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no table" * 10)
    (tmp_path / "lost.data-00000-of-00001").write_bytes(b"")
    with pytest.raises(WeightsError, match=words):
        tf_checkpoint.open_checkpoint(tmp_path / name)
    if not name.startswith("lost"):
        assert not tf_checkpoint.is_checkpoint(tmp_path / name)


def test_the_old_v1_format_is_refused_by_name(tmp_path: Path) -> None:
    meta = protobuf.encode_bytes(1, protobuf.encode_bytes(1, protobuf.encode_bytes(1, b"v")))
    table = write_table([(b"", meta), (b"\0v\0\1\1\1\x80\x82", b"\x12\x00")])
    (tmp_path / "model.ckpt").write_bytes(table)
    (tmp_path / "renamed.index").write_bytes(table)
    for name in ("model.ckpt", "renamed"):
        assert tf_checkpoint.is_checkpoint(tmp_path / name)
        with pytest.raises(WeightsError, match=r"V1 format.*write_version=2"):
            tf_checkpoint.open_checkpoint(tmp_path / name)
    (tmp_path / "renamed.index").unlink()
    assert tf_checkpoint.is_checkpoint(tmp_path)
    with pytest.raises(WeightsError, match=r"model\.ckpt is a checkpoint in .* V1 format"):
        tf_checkpoint.open_checkpoint(tmp_path)
