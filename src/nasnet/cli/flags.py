"""Flags from option classes: a flag is a dataclass field, its help the field's docstring entry.

The command line says nothing about an option that its class does not say; what cyclopts cannot
know from a type (that `224` is a size, which fields are for Python alone) stands in one table.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ParamSpec,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from cyclopts import App, ArgumentCollection, Group, Parameter, Token, validators
from cyclopts.config import Env

from nasnet.errors import OutputError
from nasnet.system import check_parent, refuse_input
from nasnet.text import user_text

Params = ParamSpec("Params")
Result = TypeVar("Result")

Size = tuple[int, int]


def _no_flag(_type: object, value: str) -> None:
    if value.startswith("-") and value != "-":
        raise ValueError(f"{value} is not a flag of this command; a file of that name is ./{value}")


# A source may be `-`, for standard input.
Source = Annotated[str, Parameter(allow_leading_hyphen=True, validator=_no_flag)]
# Flags that mean the same on every command.
Weights = Annotated[str, Parameter(alias="-w")]
Quiet = Annotated[bool, Parameter(alias="-q")]
Folder = Annotated[Path, Parameter(alias="-o", validator=validators.Path(file_okay=False))]
File = Annotated[Path, Parameter(alias="-o", validator=validators.Path(dir_okay=False))]
Share = Annotated[float, Parameter(validator=validators.Number(gte=0, lte=1))]
PAGE = (".html", ".htm")  # what a page's name ends in
AtLeastOne = Annotated[int, Parameter(validator=validators.Number(gte=1))]


def check_free(place: Path | None, *, overwrite: bool) -> None:
    """Refuse to replace what is there unless that was asked for, before anything is computed.

    Raises:
        OutputError: the place, if one is given, is taken.
    """
    if place is not None and not overwrite and os.path.lexists(place):
        raise OutputError(f"{place} exists: name another, or replace it with --overwrite")


def check_file(
    place: Path | None,
    *,
    overwrite: bool,
    endings: Sequence[str] = (),
    read: Sequence[str | Path] = (),
) -> None:
    """Refuse a file that is there or cannot be written, before anything is computed for it.

    `endings`: of what the command writes, in lower case. No other file is replaced then: not a
    picture nor a feature set, which the command may be reading. `read`: files that it reads.

    Raises:
        OutputError: it is taken, is read, has another ending, or its folder is not there or takes
            no files.
    """
    if place is None:
        return
    refuse_input(place, read)
    if endings and place.suffix.lower() not in endings:
        raise OutputError(f"{place}: the name of this file ends in {' or '.join(endings)}")
    check_free(place, overwrite=overwrite)
    check_parent(place)
    if not os.access(place.parent, os.W_OK):
        raise OutputError(f"{place} cannot be written: its folder takes no files from you")


class UsageError(Exception):
    """Flags that do not go together; exit status 2, as for one that does not exist."""


def failed(failures: int, count: int, *, strict: bool = False) -> int:
    """The exit status of a command by how many of its pictures failed: all, or with strict any."""
    return int(failures > 0 and (strict or failures == count))


def size_of(_type: object, tokens: Sequence[Token]) -> Size:
    """`224`, or `224x320`: height first, in pixels."""
    text = tokens[0].value
    match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if match is None:
        raise ValueError(f"{text!r} is not a size; write 224 or HEIGHTxWIDTH, such as 224x320")
    return int(match[1]), int(match[2] or match[1])


def _shard_of(_type: object, tokens: Sequence[Token]) -> tuple[int, int]:
    index, slash, count = tokens[0].value.partition("/")
    if not (slash and index.isdigit() and count.isdigit()):
        raise ValueError(f"{tokens[0].value!r} is not a shard; write I/N, such as 0/8")
    return int(index), int(count)


def _key_of(_type: object, tokens: Sequence[Token]) -> str:
    """A key out of a file; the environment holds it itself.

    The key is no flag of its own: every user of a machine can read other people's command lines.
    """
    token = tokens[0]
    if token.keyword == "NASNET_API_KEY":  # not NASNET_API_KEY_FILE, which names a file
        return token.value
    try:
        return user_text(Path(token.value).read_bytes()).strip()
    except (OSError, ValueError) as error:
        raise ValueError(f"{token.value} cannot be read: {error}") from None


def _by_commas(_type: object, text: str, delimiter: str | None = None) -> list[str]:
    return text.split(delimiter or ",")


def _in_units(name: str, unit: int, metavar: str, *, shown: bool = True) -> Parameter:
    """A count that people give in larger units."""

    def count_of(_type: object, tokens: Sequence[Token]) -> int:
        return round(float(tokens[0].value) * unit)

    return Parameter(
        name=name,
        converter=count_of,
        metavar=metavar,
        show_default=(lambda count: f"{count // unit}") if shown else False,
    )


SIZE = Parameter(converter=size_of, n_tokens=1, accepts_keys=False, metavar="SIZE")
PYTHON_ONLY = Parameter(parse=False)
# Switches are said where they differ from the default, and nothing is said by an empty list.
DEFAULTS = Parameter(negative_bool=(), negative_iterable=(), negative_none=(), show_env_var=False)
NOTHING_TO_SHOW = Parameter(show_default=False)  # that a switch is off, that a list is empty

# What a field's type does not tell: class -> field -> how it is a flag.
FIELDS: dict[str, dict[str, Parameter]] = {
    "FetchOptions": {
        # In the environment with commas, as the library itself reads it.
        "mirrors": Parameter(env_var_split=_by_commas, show_default=False),
        **dict.fromkeys(
            (
                "timeout_s",
                "total_s",
                "min_bytes_s",
                "retries",
                "backoff_s",
                "max_bytes",
                "max_unpacked_bytes",
                "lock_stale_s",
                "lock_poll_s",
            ),
            PYTHON_ONLY,
        ),
    },
    "SourceOptions": {
        "shard": Parameter(
            converter=_shard_of,
            n_tokens=1,
            accepts_keys=False,
            metavar="I/N",
            show_default=False,
        ),
        "storage_options": PYTHON_ONLY,
    },
    "ServeOptions": {
        "models": PYTHON_ONLY,
        "photos": Parameter(validator=validators.Path(exists=True, file_okay=False)),
        "api_key": Parameter(
            name="--api-key-file", env_var="NASNET_API_KEY", converter=_key_of, metavar="FILE"
        ),
    },
    "Limits": {
        "pictures": Parameter(name="--max-pictures"),
        "body_bytes": _in_units("--max-body", 1 << 20, "MIB"),
        "picture_pixels": _in_units("--max-megapixels", 1_000_000, "MP"),
        "compute_seconds": Parameter(name="--timeout"),
        "body_seconds": Parameter(name="--body-timeout"),
        "header_seconds": PYTHON_ONLY,
        "bodies_bytes": PYTHON_ONLY,
    },
    "EmbedOptions": {
        "picture_pixels": _in_units("--max-megapixels", 1_000_000, "MP", shown=False),
    },
    "ExportOptions": {
        "to": PYTHON_ONLY,  # whose choices are a table
        "output": Parameter(name="--task"),
        "calibrate": Parameter(metavar="SOURCE"),
        "pictures": Parameter(metavar="SOURCE"),
    },
    "ClassifyOptions": {"top": Parameter(alias="-k")},
    "ClusterOptions": {"storage_options": PYTHON_ONLY},
    # One --seed, that of the recipe, is the seed of everything.
    "DatasetOptions": {"seed": PYTHON_ONLY},
    "FinetuneOptions": {"engine": PYTHON_ONLY, "recipe": PYTHON_ONLY},
    "HeadFit": {
        "c": Parameter(name="--regularization"),
        **dict.fromkeys(("class_weight", "tol", "standardize", "seed"), PYTHON_ONLY),
    },
    # Two switches say it on the command line: --overwrite and --append.
    "SinkOptions": {"mode": PYTHON_ONLY},
}
# Fields of an inner class that mean nothing there: class -> its field -> fields of that one.
MEANINGLESS: dict[str, dict[str, tuple[str, ...]]] = {
    # No vectors are written.
    "ClassifyOptions": {"embed": ("sink", "endpoint", "source.keep", "source.keep_all")},
    "EvaluateOptions": {"dataset": ("validation", "validation_fraction")},  # nothing is split
    "MapOptions": {"source": ("keep", "keep_all")},  # the set has kept them
}
# Command -> flags that mean something else there than elsewhere: no variable sets them.
OTHER_MEANING: dict[str, tuple[str, ...]] = {
    "compare": ("--pictures", "--epochs", "--size", "--cells", "--batch-size", "--learning-rate"),
    "discover": ("--pictures", "--epochs", "--held-out"),
    "export": ("--precision", "--pictures", "--batch-size"),
    "finetune": ("--batch-size",),
    "info": ("--classes",),
    "outliers": ("--neighbours", "--count"),
    "serve": ("--pictures",),
    "train": ("--recipe",),
}


class Environment(Env):
    """`NASNET_FLAG`, for every command where the flag means the same."""

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Set what the command line does not."""
        others = OTHER_MEANING.get(commands[0], ()) if commands else ()
        kept = ArgumentCollection()  # type: ignore[no-untyped-call]
        kept.extend(one for one in arguments if one.name not in others)
        super().__call__(app, commands, kept)


# Panels of the help, in the order in which people look for things.
PANELS: dict[str, Group] = {
    name: Group(title, sort_key=place)
    for place, (name, title) in enumerate(
        {
            "EngineOptions": "How to compute",
            "SourceOptions": "How the source is read",
            "SinkOptions": "How it is written",
            "ClusterOptions": "On a cluster",
            "FetchOptions": "Where weights come from",
        }.items(),
        start=10,
    )
}
CHANGES = Group("Instead of what the recipe says", sort_key=5)


class Changes(dict[str, Any]):
    """What flags put in the place of a table's values: path of each -> the value given."""


def command(function: Callable[Params, Result]) -> Callable[Params, Result]:
    """A function as cyclopts wants it: each option class among its parameters becomes flags.

    So does a parameter `Annotated[Changes, twin]`; the fields of the twin are None where a flag is
    not given, and have the `path` of what they change in their metadata. Called from Python, the
    function is what it was.
    """
    hints = get_type_hints(function, include_extras=True)
    signature = inspect.signature(function)
    parameters: list[inspect.Parameter] = []
    classes: dict[str, Any] = {}
    changed: list[str] = []
    for name, parameter in signature.parameters.items():
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            assert isinstance(hint, type)
            flags = flags_of(hint)
            classes[name] = hint
            hints[name] = Annotated[flags, _spread(hint)]
            parameter = parameter.replace(default=flags())
        elif get_origin(hint) is Annotated and get_args(hint)[0] is Changes:
            flags = get_args(hint)[1]
            changed.append(name)
            hints[name] = Annotated[flags, Parameter(name="*", group=CHANGES)]
            parameter = parameter.replace(default=flags())
        else:
            hints[name] = _shown(hint, parameter.default)
        parameters.append(parameter.replace(annotation=hints[name]))

    @functools.wraps(function)
    def run(*args: Params.args, **kwargs: Params.kwargs) -> Result:
        for name, cls in classes.items():
            given: Any = kwargs.get(name)
            if not isinstance(given, cls):
                kwargs[name] = cls() if given is None else plain(cls, given)
        for name in changed:
            kwargs[name] = _given(kwargs.get(name))
        return function(*args, **kwargs)

    run.__doc__ = unwrapped(function.__doc__ or "")
    run.__annotations__ = hints
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


def unwrapped(text: str) -> str:
    """A docstring to be wrapped anew, as wide as the terminal is, and without markup."""
    text = inspect.cleandoc(text).replace("`", "")
    section = re.search(r"\n(?:Args|Attributes):\n", text)
    words, rest = (text, "") if section is None else (text[: section.start()], section.group())
    paragraphs = [
        one if one.startswith(" ") else " ".join(one.split()) for one in words.split("\n\n")
    ]
    if section is not None:
        rest += re.sub(r"\n {5,}", " ", text[section.end() :])
    return "\n\n".join(paragraphs) + "\n" + rest


@functools.cache
def flags_of(cls: type, meaningless: tuple[str, ...] = ()) -> type[Any]:
    """A twin of an option class, with what cyclopts has to know about each field."""
    hints = get_type_hints(cls, include_extras=True)
    known = FIELDS.get(cls.__name__, {}) | dict.fromkeys(meaningless, PYTHON_ONLY)
    inner = MEANINGLESS.get(cls.__name__, {})
    dotted = [one.partition(".")[::2] for one in meaningless if "." in one]  # of an inner class
    inner = inner | {name: tuple(one for at, one in dotted if at == name) for name, _ in dotted}
    twins: list[Any] = []
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        default: Any = field.default
        factory: Any = field.default_factory
        if field.name in known:
            hint = Annotated[hint, known[field.name]]
        elif dataclasses.is_dataclass(hint):
            assert isinstance(hint, type)
            default, factory = dataclasses.MISSING, flags_of(hint, inner.get(field.name, ()))
            hint = Annotated[factory, _spread(hint)]
        else:
            hint = _shown(hint, default)
        made: Any = (
            dataclasses.field(default=default)
            if factory is dataclasses.MISSING
            else dataclasses.field(default_factory=factory)
        )
        twins.append((field.name, hint, made))
    twin = dataclasses.make_dataclass(cls.__name__, twins, kw_only=True)
    twin.__doc__ = unwrapped(cls.__doc__ or "")
    twin.__module__ = cls.__module__  # a class of `types`, where it was made, is taken for built in
    return twin


def _given(flags: Any) -> Changes:  # noqa: ANN401 - a twin of changes
    fields = dataclasses.fields(flags) if flags is not None else ()
    values = ((field.metadata["path"], getattr(flags, field.name)) for field in fields)
    return Changes((path, value) for path, value in values if value is not None)


def plain(cls: type[Any], flags: Any) -> Any:  # noqa: ANN401 - any option class
    """The option class with the values of its twin; its own checks run here."""
    hints = get_type_hints(cls)
    values = {}
    for field in dataclasses.fields(cls):
        value = getattr(flags, field.name)
        inner = hints[field.name]
        if isinstance(inner, type) and dataclasses.is_dataclass(inner):
            value = value if isinstance(value, inner) else plain(inner, value)
        values[field.name] = value
    return cls(**values)


def _shown(hint: Any, default: object) -> Any:  # noqa: ANN401 - types
    """A type with what it and its default say of the flag."""
    if hint == Size or set(get_args(hint)) == {Size, type(None)}:
        return Annotated[hint, SIZE]
    if default is True:
        return Annotated[hint, Parameter(negative_bool="no-")]
    return Annotated[hint, NOTHING_TO_SHOW] if default in (False, ()) else hint


def _spread(cls: type) -> Parameter:
    """The fields of a class as flags of the command itself, in the class's panel of the help."""
    panel = PANELS.get(cls.__name__)
    return Parameter(name="*") if panel is None else Parameter(name="*", group=panel)
