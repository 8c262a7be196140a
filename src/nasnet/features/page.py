"""How every HTML page is made: one base template, one palette, everything from outside escaped.

The templates and style sheets lie in `data/pages`; the palette is the first rules of `base.css`.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from nasnet.text import display_name

if TYPE_CHECKING:
    from jinja2 import Environment

    from nasnet.features.feature_set import FeatureMeta

_FOLDER = Path(__file__).parent.parent / "data" / "pages"
# A page that is opened from disk reaches nothing but what is in its file.
_POLICY = Markup("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
_WARNINGS = {"untrained": "The weights are untrained: which pictures are near means nothing."}
_NOTES = {"builtin": " The weights are the package's own, builtin, not Google's."}


def render(template: str, values: Mapping[str, object]) -> str:
    """A page of a template in `data/pages`.

    The values are escaped; the filter `name` also makes text from outside fit for one line.
    """
    return _environment().get_template(template).render(values)


def source(name: str) -> Markup:
    """A style sheet or a script of `data/pages`, to be put into a page as it is."""
    # Not escaped: the file is our own.
    return Markup((_FOLDER / name).read_text(encoding="utf-8"))


def policy(script: str | None = None) -> Markup:
    """The Content-Security-Policy of a page that is one file: no network, and only this script."""
    if script is None:
        return _POLICY
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return _POLICY + Markup(f"; script-src 'sha256-{digest}'")


def weights_warning(status: str) -> str:
    """What a reader must know of the weights before looking at a page; mostly nothing."""
    return _WARNINGS.get(status, "")


def pictures_from(count: int, source: str) -> str:
    """How many pictures a page is about, and where they are from."""
    return f"{count:,} picture{'s' if count != 1 else ''} from {source.removesuffix(':')}"


def weights_facts(meta: FeatureMeta) -> str:
    """What a page says at its end of how its vectors were made."""
    note = _NOTES.get(meta.weights_status, "")
    return (
        f"Weights {meta.module} ({meta.weights_status}, fingerprint {meta.weights_fingerprint}); "
        f"{meta.network}, {meta.endpoint}, recipe {meta.recipe}, {meta.size} px, {meta.precision}."
        f"{note}"
    )


def number(value: float, form: str = ".3f") -> str:
    """A number, or `n/a` where it is undefined."""
    return "n/a" if math.isnan(value) else format(value, form)


@cache
def palettes() -> tuple[dict[str, str], dict[str, str]]:
    """The colours of `base.css` as #rrggbb by name, light and dark."""
    rules = re.findall(r":root \{(.*?)\}", source("base.css"), re.DOTALL)
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", rule)) for rule in rules)
    return light, dark


@cache
def _environment() -> Environment:
    # Here, because most commands make no page and should not wait for this import.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        autoescape=True,
        loader=FileSystemLoader(_FOLDER),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"name": display_name, "number": number}
    made.globals["source"] = source
    # Names of files stay readable in the file, and the order of the keys is ours.
    made.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    return made
