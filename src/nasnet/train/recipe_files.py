"""Files of training recipes: TOML tables, those of the package's data and others.

The command line changes single values of a recipe by the same tables.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasnet.errors import InputError
from nasnet.pictures.augment import preset
from nasnet.text import made, meant, read_toml
from nasnet.train.recipe import TrainRecipe

_DATA = Path(__file__).parent.parent / "data"


def shipped_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with the package."""
    return tuple(sorted(path.stem for path in _DATA.glob("*.toml")))


def read_recipe(name: str | Path, changes: Mapping[str, Any] | None = None) -> TrainRecipe:
    """A recipe by the name of a shipped one, or from a TOML file.

    Changes take the place of the file's values, by their paths: `train.optimizer.learning_rate`, or
    `stages.epochs` for a recipe with one stage.

    Raises:
        InputError: it is not there, is no TOML, or has a key or value no recipe has; the text
            names it.
    """
    path, where = Path(name), str(name)
    if where in shipped_recipes():
        path, where = _DATA / f"{name}.toml", f"recipe {name}"
    if not path.is_file():
        raise InputError(
            f"{name}: no recipe of that name ({', '.join(shipped_recipes())}) and no file"
            + meant(str(name), shipped_recipes())
        )
    table = read_toml(path, InputError)
    table.setdefault("name", path.stem)
    if isinstance(table.get("train"), dict) and "epochs" in table["train"]:
        raise InputError(f"{where}, train, epochs: say in [[stages]] how many epochs there are")
    for path_of_value, value in (changes or {}).items():
        _change(table, path_of_value, value, where)
    if isinstance(table.get("augment"), str):
        table["augment"] = _augmentation(table["augment"], where)
    recipe: TrainRecipe = made(TrainRecipe, table, where, InputError)
    return recipe


def _change(table: dict[str, Any], path: str, value: Any, where: str) -> None:  # noqa: ANN401
    """Put a value where a path of keys leads."""
    *tables, key = path.split(".")
    place: Any = table
    for name in tables:
        place = place.setdefault(name, [{}] if name == "stages" else {})
        if isinstance(place, list):
            if len(place) != 1:
                raise InputError(
                    f"{where} has {len(place)} stages, and {key} may differ between them: change "
                    "it in a file of your own"
                )
            place = place[0]
        if not isinstance(place, dict):
            raise InputError(f"{where}, {name}: {place!r} is not a table")
    if len(tables) == 1 and tables[0] == "stages" and key in ("epochs", "steps"):
        place.pop("epochs" if key == "steps" else "steps", None)  # it is one or the other
    place[key] = value


def _augmentation(name: str, where: str) -> dict[str, Any]:
    """The table that a preset's name stands for."""
    try:
        values = dataclasses.asdict(preset(name))
    except InputError as error:
        raise InputError(f"{where}, augment: {error}") from None
    return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
