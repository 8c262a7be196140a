"""The first page of the documentation's site is the README, with links as they are from there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
# The repository's address stands in mkdocs.yml and, for the package index, in pyproject.toml.


def on_files(files: Any, config: Any) -> Any:  # noqa: ANN401
    """Add the README as `index.md`."""
    from mkdocs.structure.files import File

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = text.replace("](docs/", "](").replace('="docs/images/', '="images/')
    files.append(File.generated(config, "index.md", content=_outside(text, config)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:  # noqa: ANN401
    """Point links to files of the repository, which the site has not, at the repository.

    Paths in HTML, which mkdocs leaves alone, are made to fit the folder that the page gets.
    """
    up = "../" * page.url.count("/")
    # Python's Markdown makes no paragraph of text right behind a block of code.
    apart = re.sub(r"(^```\w*\n.*?^```\n)(?=\S)", r"\1\n", markdown, flags=re.DOTALL | re.MULTILINE)
    return _outside(apart, config).replace('="images/', f'="{up}images/')


def _outside(text: str, config: Any) -> str:  # noqa: ANN401
    repository = f"{config.repo_url}/blob/main/"
    # In the site a page is known by its title, not by the name of its file.
    text = re.sub(
        r"(?<!\!)\[(?:docs/)?([\w-]+)\.md\]\(", lambda found: f"[{_title(found[1])}](", text
    )
    return re.sub(
        r"\]\((?:\.\./)?((?:src|tests|[A-Z]+\.md|LICENSE)[^)]*)\)", rf"]({repository}\1)", text
    )


def _title(page: str) -> str:
    """The headline of a page of the docs, or its file's name where there is none."""
    path = ROOT / "docs" / f"{page}.md"
    if not path.exists():
        return f"{page}.md"
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
