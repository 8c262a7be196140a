"""Every Python example of the README, the docs and the docstrings runs as it stands."""

from __future__ import annotations

import doctest
import importlib
import re
import runpy
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

import nasnet
from nasnet.cli import COMMANDS, build_app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in PAGES
    if page.exists() and page.stem != "other-tools"  # whose tools tests/interop has
    for number, code in enumerate(
        re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    )
]


@pytest.mark.parametrize("code", EXAMPLES)
def test_an_example_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("skimage")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "example", "exec"), {})


@pytest.mark.parametrize("room", ["hub.module"])
def test_docstrings_examples_hold(room: str) -> None:
    result = doctest.testmod(importlib.import_module(f"nasnet.{room}"))
    assert result.attempted
    assert not result.failed


def test_pages_link_to_files_that_are_there() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_pages_show_every_image_that_is_there_and_no_other() -> None:
    shown = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found = re.findall(r'(?:src|srcset)="([^"]+)"|!\[[^]]*\]\(([^)]+)\)', text)
        shown |= {(page.parent / (html or plain)).resolve() for html, plain in found}
    assert shown == set((ROOT / "docs" / "images").iterdir())


def test_the_site_names_pages_by_their_titles_and_finds_their_images() -> None:
    hooks = runpy.run_path(str(ROOT / ".ci" / "site_hooks.py"))
    config, page = SimpleNamespace(repo_url="https://there"), SimpleNamespace(url="search/")
    text = '```sh\nnasnet\n```\nAs in [embed.md](embed.md#sources) <img src="images/map.webp">\n'
    title = (ROOT / "docs" / "embed.md").read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    assert hooks["on_page_markdown"](text, page, config, None) == (
        f'```sh\nnasnet\n```\n\nAs in [{title}](embed.md#sources) <img src="../images/map.webp">\n'
    )


def test_the_reference_has_every_public_name() -> None:
    """`mkdocs build --strict`, which reads the docstrings behind them, is a step of `.ci/run`."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    places = dict(
        reversed(found) for found in re.findall(r"^::: (nasnet\.\S+)\.(\w+)$", page, re.MULTILINE)
    )
    stub = (ROOT / "src" / "nasnet" / "__init__.pyi").read_text(encoding="utf-8")
    assert set(places) == set(re.findall(r"\w+(?= as \w+)", stub)) - {"__version__"}
    for name, module in places.items():
        if name in ("LangChainEmbeddings", "LlamaIndexEmbedding"):  # tests/interop has their extras
            continue
        assert getattr(importlib.import_module(module), name) is getattr(nasnet, name)


def _commands(page: Path) -> list[list[str]]:
    """The lines of a page's shell examples that run `nasnet`, in words."""
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line.partition(" # ")[0], posix=True, punctuation_chars="|&")
            lexer.whitespace_split = True
            lexer.commenters = "#" if line.startswith("#") else ""
            words = [*lexer, "&&"]
            while "nasnet" in (names := [Path(word).name for word in words]):
                words = words[names.index("nasnet") + 1 :]
                ends = [place for place, word in enumerate(words) if word.strip("|&") == ""]
                found.append(words[: ends[0]])
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_commands_and_flags_that_there_are(page: Path) -> None:
    for command, *words in filter(None, _commands(page)):
        if command.startswith("-") or command == "COMMAND":
            continue
        assert command in COMMANDS, f"{page.name}: nasnet {command}"
        app = build_app(command)[command]
        while words and words[0] in app:
            app = app[words.pop(0)]
        known = {name for one in app.assemble_argument_collection() for name in one.names}
        for word in words:
            flag = word.partition("=")[0]
            if re.fullmatch(r"--?[A-Za-z][\w-]*", flag):
                assert flag in known | {"--help", "-h"}, f"{page.name}: nasnet {command} {flag}"
