"""Open whatever a user names as weights: handle, path, URL, `builtin` or seed in, `Opened` out.

What was opened is judged here: a file is believed when it calls itself untrained, never when it
calls itself genuine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from nasnet.errors import WeightsError
from nasnet.network.code import decode
from nasnet.network.plan import PADDINGS, Borders
from nasnet.text import check_known
from nasnet.weights import genuine
from nasnet.weights.fetch import FetchEvent, FetchOptions, fetch, parse_handle
from nasnet.weights.fetch.handles import is_keras_file
from nasnet.weights.formats.base import (
    Averages as Averages,  # whoever opens, names it
    Content,
)
from nasnet.weights.genuine import Verdict
from nasnet.weights.module_folder import Task
from nasnet.weights.weights import (
    Weights,
    fingerprint,
    parse_seeded,
    read_card,
    read_safetensors,
    seeded,
)

DEFAULT_HANDLE = "https://tfhub.dev/google/imagenet/nasnet_mobile/feature_vector/3"
DEFAULT_CLASSIFIER = "https://tfhub.dev/google/imagenet/nasnet_mobile/classification/3"

# The weights that come with the package; their card is docs/builtin.md, and in their metadata.
BUILTIN = "builtin"
_BUILTIN_FILE = Path(__file__).parent.parent / "data" / "builtin.safetensors"

_SEEDED_SPEC = re.compile(r"(?P<seed>seeded:[^@]*)(?:@(?P<spec>.+))?")


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
        signatures: names of the signatures that the published module has; empty for everything
            that is no published module, which has all that its task can have.
        batch_norm_momentum: decay of batch norm's moving averages where a caller who trains the
            module gives none.
    """

    weights: Weights
    format: str
    task: Task
    image_size: tuple[int, int]
    verdict: Verdict
    path: Path | None = None
    notes: tuple[str, ...] = ()
    card: Mapping[str, str] = field(default_factory=dict)
    signatures: tuple[str, ...] = ()
    batch_norm_momentum: float = 0.99

    @property
    def word(self) -> str:
        """Whether they are genuine, in a plain word for people."""
        return BUILTIN if self.weights.status == BUILTIN else self.verdict.word


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
    check_known("padding", padding, PADDINGS)
    return replace(opened, weights=replace(opened.weights, padding=padding))


def _open_fetched(
    text: str,
    averages: Averages,
    partial: bool,
    fetch_options: FetchOptions | None,
    on_event: Callable[[FetchEvent], None] | None,
) -> Opened:
    verified: dict[Path, Opened] = {}

    handle = parse_handle(text)

    def verify(path: Path) -> None:
        # The user's own file is read once, and may be looked at with parts missing. What is on its
        # way into the cache is not kept, for its mapped files could not be renamed everywhere, and
        # enters it whole only, and only as what it is called: who comes later takes it as good.
        own = path == Path(text)
        opened = open_path(path, averages=averages, partial=partial and own)
        if own:
            verified[path] = opened
        elif handle is not None and opened.weights.spec != handle.architecture:
            raise WeightsError(
                f"{path} holds {opened.weights.network}, not nasnet_{handle.architecture}"
            )
        elif is_keras_file(path.name) and opened.weights.status != "genuine":
            # A file that the module's publisher did not make counts for its numbers alone.
            raise WeightsError(f"{path} does not hold the published weights, bit for bit")

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
    return replace(
        opened,
        weights=replace(opened.weights, source=fetched.handle.canonical),
        task=fetched.handle.task,
        signatures=fetched.handle.signatures,
        batch_norm_momentum=fetched.handle.batch_norm_momentum,
        notes=(*opened.notes, *([fetched.note] if fetched.note else [])),
    )


def open_path(path: Path, *, averages: Averages = "auto", partial: bool = False) -> Opened:
    """Open a local file or folder of any format in `readers.READERS`, told by content.

    Args:
        path: the file or folder.
        averages: a training checkpoint may hold each variable and its exponential moving
            average. `auto` takes the set that is the published one, bit for bit; if neither is,
            the averages where there are any. `plain` and `average` force the choice.
        partial: open it even if tensors are missing; for looking only.

    Raises:
        MissingExtraError: the format's own library is not installed.
        WeightsError: it is of no known format, is damaged, does not fit the network, or asks to
            run something; the text names file and tensor.
    """
    # Sixteen formats: what opens no file, as `builtin`, need not wait for their import.
    from nasnet.weights.formats.readers import read_path

    weights, content = read_path(path, averages=averages, partial=partial)
    return _opened(weights, content, path)


def _open_builtin() -> Opened:
    weights = replace(read_safetensors(_BUILTIN_FILE), source=BUILTIN)
    content = Content(title="comes with the package", card=read_card(_BUILTIN_FILE))
    opened = _opened(weights, content, _BUILTIN_FILE)
    return replace(opened, weights=replace(weights, status=BUILTIN))


def _open_seeded(text: str) -> Opened | None:
    match = _SEEDED_SPEC.fullmatch(text)
    seed = parse_seeded(match["seed"]) if match else None
    if match is None or seed is None:
        return None
    weights = seeded(seed, spec=match["spec"] or "mobile")
    if match["spec"]:
        weights = replace(weights, source=text)
    return _opened(weights, Content(title="made from a seed, untrained"), None)


def _opened(weights: Weights, content: Content, path: Path | None) -> Opened:
    """Weights, judged, with what their file says of itself."""
    spec = decode(weights.spec)
    verdict = genuine.judge(weights.arrays, spec=weights.spec)
    # A file cannot call itself genuine; that it calls itself untrained is believed, and that it
    # is the package's own if it is.
    status = verdict.status
    if status != "genuine" and (
        weights.status == "untrained" or (weights.status == BUILTIN and _is_builtin(weights, path))
    ):
        status = weights.status
    own = spec.image_size, spec.image_size
    size = content.image_size or own
    return Opened(
        weights=replace(weights, status=status, image_size=None if size == own else size),
        format=content.title,
        task=content.task,
        image_size=size,
        verdict=verdict,
        path=path,
        notes=content.notes,
        card=content.card,
        signatures=content.signatures,
        batch_norm_momentum=content.batch_norm_momentum,
    )


def _is_builtin(weights: Weights, path: Path | None) -> bool:
    return path == _BUILTIN_FILE or (  # which need not be read once more
        fingerprint(weights) == fingerprint(read_safetensors(_BUILTIN_FILE))
    )
