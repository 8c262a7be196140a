"""Open anything that holds NASNet-A weights: handle, path or seed in, checked `Weights` out.

Called by `module`, `embed` and the command line; tells formats apart by content, not by name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from nasnet.errors import InputError, WeightsError
from nasnet.network.plan import PADDINGS, Borders
from nasnet.network.spec import preset
from nasnet.weights import genuine
from nasnet.weights.fetch import FetchEvent, FetchOptions, fetch
from nasnet.weights.formats import reading, tf_checkpoint, tf_hub
from nasnet.weights.formats.tf_slim import STEMS, Averages, read_variables
from nasnet.weights.genuine import Verdict
from nasnet.weights.module_folder import Task, is_module_folder, read_folder
from nasnet.weights.weights import (
    Weights,
    fingerprint,
    parse_seeded,
    read_card,
    read_safetensors,
    seeded,
)

__all__ = [
    "BUILTIN",
    "DEFAULT_CLASSIFIER",
    "DEFAULT_HANDLE",
    "Averages",
    "HasOpened",
    "Opened",
    "WeightsSource",
    "open_path",
    "open_weights",
    "with_padding",
]

DEFAULT_HANDLE = "https://tfhub.dev/google/imagenet/nasnet_mobile/feature_vector/3"
DEFAULT_CLASSIFIER = "https://tfhub.dev/google/imagenet/nasnet_mobile/classification/3"

# The weights that come with the package; their card is docs/builtin.md, and in their metadata.
BUILTIN = "builtin"
_BUILTIN_FILE = Path(__file__).parent.parent / "data" / "builtin.safetensors"

_SEEDED_SPEC = re.compile(r"(?P<seed>seeded:[^@]*)(?:@(?P<spec>\w+))?")
_CHECKPOINT = "TensorFlow V2 checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Weights and all that was found out about them.

    Attributes:
        weights: checked against the network.
        format: what the file is, for people.
        task: what the signature `default` gives.
        image_size: height and width in pixels that the module expects.
        verdict: the comparison with the published weights.
        path: the local file or folder, None for seeded weights.
        notes: what a user should know about how it was read.
        card: what its makers say of it: data, teacher, figures; empty where they say nothing.
    """

    weights: Weights
    format: str
    task: Task
    image_size: tuple[int, int]
    verdict: Verdict
    path: Path | None = None
    notes: tuple[str, ...] = ()
    card: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class HasOpened(Protocol):
    """What was made of opened weights and still has them, such as a `ModuleSpec`."""

    @property
    def opened(self) -> Opened:
        """The weights, and all that was found out about them."""


WeightsSource = str | os.PathLike[str] | Opened | HasOpened


def open_weights(
    source: WeightsSource,
    *,
    averages: Averages = "auto",
    partial: bool = False,
    padding: Borders | None = None,
    fetch_options: FetchOptions | None = None,
    on_event: Callable[[FetchEvent], None] | None = None,
) -> Opened:
    """Open whatever a user may give as weights.

    Args:
        source: a published handle, a path, a URL, `builtin` for the weights in the package,
            `seeded:N` (`seeded:N@large` for another preset) for untrained ones; or what has been
            opened already (`Opened`, or an object that has one as its attribute `opened`): of the
            other arguments only `padding` matters then.
        averages: which set to take from a training checkpoint; see `open_path`.
        partial: open a path even if tensors are missing; for looking only.
        padding: whose border pixels the network is to compute with, `slim` or `keras`; what the
            weights say, `slim` as a rule, if not given.
        fetch_options: where to look for a handle and what is allowed.
        on_event: told about downloads.

    Raises:
        FetchError: a handle cannot be had.
        WeightsError: it holds no NASNet-A weights, or is damaged.
        InputError: a seed that is no integer, an unknown preset after `@`, or no such padding.
    """
    if isinstance(source, HasOpened):
        source = source.opened
    if isinstance(source, Opened):
        return with_padding(source, padding)
    text = os.fspath(source)
    made = _open_builtin() if text == BUILTIN else _open_seeded(text)
    if made is None:
        made = _open_fetched(text, averages, partial, fetch_options, on_event)
    return with_padding(made, padding)


def with_padding(opened: Opened, padding: Borders | None) -> Opened:
    """The same weights, to be computed with another network's border pixels.

    Raises:
        InputError: there is no such padding.
    """
    if padding in (None, opened.weights.padding):
        return opened
    if padding not in PADDINGS:
        raise InputError(f"no padding {padding!r}; there are {', '.join(PADDINGS)}")
    return replace(opened, weights=replace(opened.weights, padding=padding))


def _open_fetched(
    text: str,
    averages: Averages,
    partial: bool,
    fetch_options: FetchOptions | None,
    on_event: Callable[[FetchEvent], None] | None,
) -> Opened:
    verified: dict[Path, Opened] = {}

    def verify(path: Path) -> None:
        opened = open_path(path, averages=averages, partial=partial)
        if path == Path(text):
            # The user's own file: read once. What is on its way into the cache is not kept, for
            # its mapped files could not be renamed everywhere.
            verified[path] = opened

    fetched = fetch(
        text,
        options=fetch_options or FetchOptions(),
        verify=verify,
        on_event=on_event,
    )
    opened = verified.get(fetched.path)
    if opened is None:
        opened = open_path(fetched.path, averages=averages, partial=partial)
    if fetched.handle is None:
        return opened
    if opened.weights.spec != fetched.handle.architecture:
        raise WeightsError(
            f"{fetched.path} holds nasnet_{opened.weights.spec}, "
            f"but {text} is nasnet_{fetched.handle.architecture}: remove it and fetch again"
        )
    return replace(
        opened,
        weights=replace(opened.weights, source=fetched.handle.canonical),
        task=fetched.handle.task,
        notes=(*opened.notes, *([fetched.note] if fetched.note else [])),
    )


def open_path(path: Path, *, averages: Averages = "auto", partial: bool = False) -> Opened:
    """Open a local file or folder.

    Args:
        path: our module folder, a TF1 hub module's folder, a TensorFlow V2 checkpoint (prefix,
            index file or folder), a safetensors file, or another format; told by content.
        averages: a training checkpoint may hold each variable and its exponential moving
            average. `auto` takes the set that is the published one, bit for bit; if neither is,
            the averages where there are any. `plain` and `average` force the choice.
        partial: open it even if tensors are missing; for looking only.

    Raises:
        WeightsError: it is none of these, is damaged, or does not fit the network; the text
            names file and tensor.
    """
    if is_module_folder(path):
        folder = read_folder(path)
        return _opened(
            folder.weights,
            "nasnet module folder",
            path,
            task=folder.task,
            image_size=(folder.height, folder.width),
        )
    if tf_hub.is_hub_module(path):
        return _open_hub_module(path, averages, partial)
    if tf_hub.is_saved_model(path):
        return _foreign(_open_saved_model(path, partial), path)
    if path.is_file() and _is_our_safetensors(path):
        weights = read_safetensors(path, partial=partial)
        return _opened(weights, "safetensors", path, card=read_card(path))
    if tf_checkpoint.is_checkpoint(path):
        return _open_checkpoint(path, averages, partial)
    if not path.exists():
        raise WeightsError(f"{path}: no such file or folder")
    if not path.is_file() and not path.is_dir():
        raise WeightsError(f"{path}: is a pipe or a device: save what comes out of it to a file")
    found = reading.read_foreign(path, partial=partial)
    if found is not None:
        return _foreign(found, path)
    kind = "folder" if path.is_dir() else "file"
    raise WeightsError(
        f"{path}: this {kind} is no module or weight file that can be read: a TF1 hub module, a "
        "TensorFlow V2 checkpoint (model.ckpt.index and .data-...), a SavedModel, a frozen graph, "
        "a file of Keras, PyTorch, TFLite, TF.js, TensorNets or MindSpore, or safetensors"
    )


def _open_builtin() -> Opened:
    weights = replace(read_safetensors(_BUILTIN_FILE), source=BUILTIN)
    return replace(
        _opened(weights, "comes with the package", _BUILTIN_FILE, card=read_card(_BUILTIN_FILE)),
        weights=replace(weights, status=BUILTIN),
    )


def _foreign(found: reading.Read, path: Path) -> Opened:
    return _opened(found.weights, found.format, path, notes=found.notes)


def _open_saved_model(path: Path, partial: bool) -> reading.Read:
    """A SavedModel that is no TF1 hub module: Keras', or a hub module of version 4 or 5."""
    variables = path / "variables" / "variables"
    if not tf_checkpoint.is_checkpoint(variables):
        raise WeightsError(f"{path}: this SavedModel has no variables/variables.index")
    found = reading.read_variables(variables, partial=partial)
    weights = replace(found.weights, source=str(path))
    return replace(found, weights=weights, format=found.format.replace(_CHECKPOINT, "SavedModel"))


def _open_checkpoint(path: Path, averages: Averages, partial: bool) -> Opened:
    names = tf_checkpoint.open_checkpoint(path).entries
    if not any(name == stem or name.endswith(f"/{stem}") for stem in STEMS for name in names):
        groups = tf_checkpoint.group_names(names)
        if not any(name.endswith(STEMS) for name in groups.averages):
            return _foreign(reading.read_variables(path, partial=partial), path)
    weights, notes = read_variables(path, averages, partial)
    return _opened(weights, _CHECKPOINT, path, notes=notes)


def _open_seeded(text: str) -> Opened | None:
    match = _SEEDED_SPEC.fullmatch(text)
    seed = parse_seeded(match["seed"]) if match else None
    if match is None or seed is None:
        return None
    spec = preset(match["spec"] or "mobile")
    weights = seeded(seed, spec=spec.name)
    if match["spec"]:
        weights = replace(weights, source=text)
    return _opened(weights, "made from a seed, untrained", None)


def _opened(
    weights: Weights,
    format: str,
    path: Path | None,
    *,
    task: Task = "feature_vector",
    image_size: tuple[int, int] | None = None,
    notes: tuple[str, ...] = (),
    card: Mapping[str, str] | None = None,
) -> Opened:
    spec = preset(weights.spec)
    verdict = genuine.judge(weights.arrays, spec=spec.name)
    # A file cannot call itself genuine; that it calls itself untrained is believed, and that it
    # is the package's own if it is.
    status = verdict.status
    if status != "genuine" and (
        weights.status == "untrained" or (weights.status == BUILTIN and _is_builtin(weights))
    ):
        status = weights.status
    return Opened(
        weights=replace(weights, status=status),
        format=format,
        task=task,
        image_size=image_size or (spec.image_size, spec.image_size),
        verdict=verdict,
        path=path,
        notes=notes,
        card=card or {},
    )


def _is_builtin(weights: Weights) -> bool:
    return fingerprint(weights) == fingerprint(read_safetensors(_BUILTIN_FILE))


def _is_our_safetensors(path: Path) -> bool:
    """Its first 8 bytes count the bytes of the JSON object that follows, which has our names."""
    with path.open("rb") as file:
        head = file.read(9)
        size = int.from_bytes(head[:8], "little")
        if len(head) < 9 or head[8:] != b"{" or size >= 2**27:
            return False
        header = head[8:] + file.read(size - 1)
    # A damaged one is ours to explain as well.
    return any(f'"{stem}"'.encode() in header for stem in STEMS) or b'"dtype"' not in header


def _open_hub_module(path: Path, averages: Averages, partial: bool) -> Opened:
    module = tf_hub.read_hub_module(path)
    weights, notes = read_variables(module.variables, averages, partial)
    # The training graph has the same signatures; a module may come with it alone.
    variant = module.variants.get(frozenset()) or next(iter(module.variants.values()))
    classifies = "image_classification" in variant.signatures
    size = tf_hub.image_size(variant.attachments)
    return _opened(
        replace(weights, source=str(path)),
        "TF1 hub module",
        path,
        task="classification" if classifies else "feature_vector",
        image_size=size,
        notes=notes,
    )
