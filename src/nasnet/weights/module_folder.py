"""Our own module folder: weights, task and picture size together, as `Module.export` writes it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from nasnet.errors import OutputError, WeightsError, os_errors
from nasnet.system import staged, write_whole
from nasnet.text import made, read_json
from nasnet.weights.weights import Weights, read_safetensors, write_safetensors

Task = Literal["feature_vector", "classification"]

DESCRIPTION = "nasnet_module.json"
_WEIGHTS = "weights.safetensors"
_FORMAT = "nasnet-module/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Description:
    task: Task
    height: int
    width: int
    signatures: tuple[str, ...] = ()  # these two as in `opening.Opened`
    batch_norm_momentum: float = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFolder(_Description):
    """What such a folder holds."""

    weights: Weights


def is_module_folder(path: Path) -> bool:
    """Whether a path is a folder of this kind."""
    return (path / DESCRIPTION).is_file()


def read_folder(path: Path) -> ModuleFolder:
    """Read a folder of this kind.

    Raises:
        WeightsError: a file is missing or damaged.
    """
    file = path / DESCRIPTION
    table = read_json(file, WeightsError)
    found = table.pop("format", None)
    if found != _FORMAT:
        raise WeightsError(f"{file}: format {found!r}, this version reads {_FORMAT!r}")
    description = made(_Description, table, str(file), WeightsError)
    return ModuleFolder(weights=read_safetensors(path / _WEIGHTS), **asdict(description))


def write_folder(module: ModuleFolder, path: Path) -> None:
    """Write a folder of this kind; it appears complete or not at all.

    Raises:
        OutputError: the path exists and is something else, or cannot be written.
    """
    if path.exists() and not is_module_folder(path) and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(f"{path} exists and is not an exported module: name another folder")
    with staged(path, overwrite=True) as folder:
        folder.mkdir()
        _write(module, folder)


def write_into(module: ModuleFolder, folder: Path) -> None:
    """Write a module's files into a folder that has others as well, such as a training run's.

    Raises:
        OutputError: they cannot be written.
    """
    with os_errors(OutputError, f"{folder} cannot be written"):
        # The description is what makes the folder a module. One that would say the same stays, so
        # that the old or the new weights are there at any moment; another goes when the weights
        # change, and comes back when they are whole.
        file, description = folder / DESCRIPTION, _description(module)
        if not (file.is_file() and file.read_bytes() == description):
            file.unlink(missing_ok=True)
        _write(module, folder)


def _write(module: ModuleFolder, folder: Path) -> None:
    size = module.height, module.width
    write_safetensors(replace(module.weights, image_size=size), folder / _WEIGHTS)
    write_whole(folder / DESCRIPTION, _description(module))


def _description(module: ModuleFolder) -> bytes:
    description = {
        "format": _FORMAT,
        "task": module.task,
        "height": module.height,
        "width": module.width,
        "signatures": list(module.signatures),
        "batch_norm_momentum": module.batch_norm_momentum,
    }
    return json.dumps(description, indent=1).encode()
