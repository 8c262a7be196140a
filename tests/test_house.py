"""The house: which rooms there are, and who may import whom."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import nasnet
from tests.support import ROOT

SOURCE = Path(nasnet.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

# Room -> the rooms it may import; `errors`, `text` and `_version` are open to all.
BASE = frozenset({"errors", "text", "_version"})
MAY_IMPORT: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "text": frozenset(),
    "_version": frozenset(),
    "system": frozenset(),
    "network": frozenset({"system"}),
    "weights": frozenset({"system", "network"}),
    "pictures": frozenset({"system"}),
    "compute": frozenset({"system", "network", "weights"}),
    "features": frozenset({"system", "network", "weights", "pictures", "compute"}),
    "hub": frozenset({"system", "network", "weights", "pictures", "compute"}),
    "exporting": frozenset({"system", "network", "weights", "pictures", "compute", "features"}),
    "train": frozenset(
        {"system", "network", "weights", "pictures", "compute", "features", "exporting"}
    ),
    "torch": frozenset({"network", "weights", "compute"}),
    "serve": frozenset({"system", "network", "weights", "pictures", "compute", "features", "hub"}),
    "cli": frozenset(
        {
            "system",
            "network",
            "weights",
            "pictures",
            "compute",
            "features",
            "hub",
            "exporting",
            "train",
            "serve",
        }
    ),
}
FACES = {"__init__", "__main__"}  # they only pass names on
AT_THE_TOP = 7  # Python files beside the rooms


def module_of(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts


def imports(path: Path) -> Iterator[tuple[tuple[str, ...], str, int]]:
    """(module below `nasnet`, name, line) of every import in a file, those for types included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "nasnet":
            assert node.module is not None
            module = tuple(node.module.split(".")[1:])
            for alias in node.names:
                yield module or (alias.name,), alias.name, node.lineno
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("nasnet."):
                    yield tuple(alias.name.split(".")[1:]), "", node.lineno


def test_the_top_of_the_package_shows_the_product() -> None:
    rooms = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    assert rooms == {room for room in MAY_IMPORT if (SOURCE / room).is_dir()}
    assert len(rooms) == 10
    assert len(list(SOURCE.glob("*.py"))) <= AT_THE_TOP


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    here = module_of(path)
    room = here[0]
    if room in FACES:
        return
    may = MAY_IMPORT[room] | BASE | {room}
    for module, name, line in imports(path):
        place = f"{path.relative_to(SOURCE)}:{line}"
        assert module[0] in may, f"{place}: {room} may not import {'.'.join(module)}"
        private = name.startswith("_") and not name.startswith("__")
        # A private name, or a private module, belongs to the folder it lies in.
        folder = path.relative_to(SOURCE).parent.parts
        if private and module != ("_version",):
            assert module[:-1] == folder or module == folder, (
                f"{place}: {name} is private to {'.'.join(module)}"
            )


def test_no_import_runs_in_a_circle() -> None:
    """Between files, at import time: what functions import when they are called is not counted."""
    graph: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    modules = {module_of(path): path for path in FILES}
    for here, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        graph[here] = set()
        for node in tree.body:
            if not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nasnet.")):
                continue
            assert node.module is not None
            module = tuple(node.module.split(".")[1:])
            for alias in node.names:
                inner = (*module, alias.name)
                graph[here].add(inner if inner in modules else module)
    done: set[tuple[str, ...]] = set()

    def visit(module: tuple[str, ...], trail: tuple[tuple[str, ...], ...]) -> None:
        assert module not in trail, " -> ".join(".".join(one) for one in (*trail, module))
        if module in done:
            return
        for other in graph.get(module, ()):
            if other != module:
                visit(other, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("tests/**/*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_tests_share_helpers_through_support_only(path: Path) -> None:
    """A test module that another one imports cannot be changed or moved alone."""
    # As text: the code that a test gives to another process counts too.
    found = re.findall(r"(?:from|import) tests\.(?!support\b)[\w.]+", path.read_text("utf-8"))
    assert not found, f"{path.name}: {found}; move what is shared to tests/support"
