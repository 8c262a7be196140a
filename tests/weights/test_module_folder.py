from pathlib import Path

import pytest

from nasnet.errors import OutputError, WeightsError
from nasnet.weights.module_folder import (
    DESCRIPTION,
    ModuleFolder,
    is_module_folder,
    read_folder,
    write_folder,
)
from nasnet.weights.weights import fingerprint, seeded

MODULE = ModuleFolder(weights=seeded(4, spec="cifar"), task="classification", height=40, width=48)


def test_a_folder_keeps_weights_task_and_size(tmp_path: Path) -> None:
    write_folder(MODULE, tmp_path / "module")
    assert is_module_folder(tmp_path / "module")
    found = read_folder(tmp_path / "module")
    assert (found.task, found.height, found.width) == ("classification", 40, 48)
    assert fingerprint(found.weights) == fingerprint(MODULE.weights)


def test_an_empty_folder_may_be_filled_but_a_file_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_folder(MODULE, tmp_path / "empty")
    (tmp_path / "file").write_text("precious")
    with pytest.raises(OutputError, match="name another folder"):
        write_folder(MODULE, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "precious"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_folder(MODULE, tmp_path / "file" / "module")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": "nasnet-module/1"}',
        '{"format": "nasnet-module/9", "task": "feature_vector", "height": 1, "width": 1}',
        '{"format": "nasnet-module/1", "task": "poetry", "height": 1, "width": 1}',
        '{"format": "nasnet-module/1", "task": "feature_vector", "height": "tall", "width": 1}',
    ],
)
def test_a_damaged_description_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / DESCRIPTION).write_text(text)
    with pytest.raises(WeightsError, match=DESCRIPTION):
        read_folder(tmp_path)
