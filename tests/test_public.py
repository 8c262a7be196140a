"""The shape of the package: what is public, and how long a file is."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import nasnet
from tests.support import ROOT

SOURCE = Path(nasnet.__file__).parent
FILES = sorted(path for path in SOURCE.rglob("*.py"))


def test_every_exported_name_is_there_and_nothing_else_is_shown() -> None:
    assert sorted(nasnet.__all__) == nasnet.__all__ or set(nasnet.__all__) == set(dir(nasnet))
    for name in nasnet.__all__:
        assert getattr(nasnet, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        nasnet.nope  # type: ignore[attr-defined]  # noqa: B018


def test_every_public_name_says_what_it_is() -> None:
    for name in nasnet.__all__:
        value = getattr(nasnet, name)
        if callable(value):
            assert value.__doc__, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_can_be_read_in_one_sitting_and_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    assert ast.get_docstring(ast.parse(text)), "what the file is for, and what it must never do"


def _pins(name: str) -> dict[str, set[str]]:
    text = (ROOT / name).read_text(encoding="utf-8")
    found: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE):
        found.setdefault(package, set()).add(version)
    return found


def test_the_lock_file_has_the_tested_versions_of_all_that_is_needed() -> None:
    """Its first lines say how it is made anew."""
    locked, tested = _pins("requirements.lock"), _pins("constraints.txt")
    assert {name: locked[name] for name in locked if name in tested} == {
        name: tested[name] for name in locked if name in tested
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["serve"]]
    assert {re.split(r"[>=<\[ ]", one)[0] for one in needed} <= set(locked)


def test_importing_the_package_brings_nothing_heavy() -> None:
    code = (
        "import sys, nasnet; nasnet.errors; "
        "print([m for m in ('numpy','onnx','openvino','pyarrow','PIL','torch','tensorflow',"
        "'click','rich','fsspec') if m in sys.modules])"
    )
    code = code.replace("nasnet.errors; ", "")
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"
