"""The shape of the package: what is public, who imports whom, how long a room is."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import nasnet

SOURCE = Path(nasnet.__file__).parent
ROOMS = sorted(path for path in SOURCE.rglob("*.py"))

# The story in order: a room imports only from those above it (design: data flows one way).
ORDER = [
    "errors",
    "files",
    "run_folder",
    "cells",
    "plan",
    "network",
    "rewrites",
    "summary",
    "weights",
    "imagenet",
    "names",
    "pickles",
    "wire",
    "bundle",
    "readers",
    "hubmodule",
    "genuine",
    "signatures",
    "folder",
    "fetch",
    "slim_variables",
    "load",
    "conversion",
    "initial",
    "torch_operations",
    "torch_weights",
    "torch_segment",
    "torch_model",
    "torch",
    "onnx_graph",
    "machine",
    "engine",
    "engine_openvino",
    "engine_onnxruntime",
    "engine_torch_cuda",
    "engine_torch",
    "arrays",
    "torch_module",
    "resize",
    "image",
    "recipes",
    "module_spec",
    "module",
    "source",
    "features",
    "neighbours",
    "sink",
    "pipeline",
    "job",
    "embedding",
    "place",
    "merging",
    "scale",
    "classifying",
    "index",
    "exporting",
    "head",
    "estimator",
    "dataset",
    "augment",
    "loader",
    "loader_processes",
    "metrics",
    "thumbnails",
    "contact_sheet",
    "mapping",
    "report",
    "prediction",
    "evaluation",
    "training",
    "finetuning",
    "distill",
    "train",
    "serve",
    "cli",
]


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Rooms a file imports at any depth; those only for types do not count."""
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("nasnet"):
            parts = node.module.split(".")
            names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
            found.update(names)
    return found


def test_every_exported_name_is_there_and_nothing_else_is_shown() -> None:
    assert sorted(nasnet.__all__) == nasnet.__all__ or set(nasnet.__all__) == set(dir(nasnet))
    for name in nasnet.__all__:
        assert getattr(nasnet, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        nasnet.nope  # noqa: B018


def test_every_public_name_says_what_it_is() -> None:
    for name in nasnet.__all__:
        value = getattr(nasnet, name)
        if callable(value):
            assert value.__doc__, name


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: str(path.relative_to(SOURCE)))
def test_rooms_import_only_from_those_above(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    assert room in ORDER, f"{room} has no place in the story: add it to ORDER"
    above = set(ORDER[: ORDER.index(room) + 1])
    below = {other for other in imports(path) if other in ORDER} - above
    assert not below, f"{room} imports {sorted(below)}, which come after it"


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_can_be_read_in_one_sitting_and_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring
    assert len(docstring.splitlines()) >= 3, "what room this is, and who may call it"


def test_importing_the_package_brings_nothing_heavy() -> None:
    code = (
        "import sys, nasnet; nasnet.errors; "
        "print([m for m in ('numpy','onnx','openvino','pyarrow','PIL','torch','tensorflow',"
        "'click','rich','fsspec') if m in sys.modules])"
    )
    code = code.replace("nasnet.errors; ", "")
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"
