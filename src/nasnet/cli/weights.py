"""`nasnet weights inspect`: what a weight file holds, and whether it is genuine."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from cyclopts import App, Parameter, validators

from nasnet.cli.flags import DEFAULTS, File, Quiet, Share, UsageError, check_file, command
from nasnet.cli.terminal import Progress, note, say, say_json
from nasnet.errors import InputError, needs
from nasnet.text import display_name, read_toml
from nasnet.weights.classes import with_temperature
from nasnet.weights.opening import Averages, Opened, open_weights
from nasnet.weights.weights import Weights, fingerprint, plan_of, write_safetensors

if TYPE_CHECKING:
    from nasnet.pictures.sources import Item

_HELD_OUT = 0.1  # of the recipes of `builtin`
_RANGED = 512  # pictures whose maps are measured

app = App(name="weights", help="Inspect weight files, and pack them.", default_parameter=DEFAULTS)


@app.command
@command
def inspect(path: str, /, *, averages: Averages = "auto", json: bool = False) -> None:
    """Say what PATH holds: format, network, parameters, and whether it is genuine.

    PATH is a TensorFlow checkpoint (prefix, .index file or folder), a TF1 hub module (folder or
    .tar.gz), a safetensors file, a published handle, builtin, seeded:N, or a file of Keras,
    TensorFlow 2, PyTorch, TFLite, TF.js, TensorNets or MindSpore.

    The last line is the verdict: genuine (bit for bit the weights that Google published),
    builtin (the package's own), untrained or modified, or incomplete.

    Args:
        path: the weights.
        averages: of a training checkpoint: its variables, their moving averages, or the genuine
            ones.
        json: as JSON, for programs.
    """
    opened = open_weights(path, averages=averages, partial=True)
    report = _report(opened)
    if json:
        say_json(report)
        return
    for key, value in report.items():
        if key != "card" and value not in ("", []):
            shown = "; ".join(value) if isinstance(value, list) else value
            say(f"{key.replace('_', ' '):<20} {display_name(str(shown))}")
    for key, text in opened.card.items():
        say(f"card: {display_name(key):<14} {display_name(text)}")
    say(opened.word)


@app.command
@command
def pack(
    weights: str,
    /,
    *,
    output: File,
    card: Path | None = None,
    full: bool = False,
    temperature: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 1.0,
    min_confidence: Share | None = None,
    bound: str | None = None,
    ranges: str | None = None,
    overwrite: bool = False,
    quiet: Quiet = False,
) -> None:
    """Write WEIGHTS as one small file to hand on: kernels as float16, with a model card.

    WEIGHTS is whatever `nasnet weights inspect` takes, such as the folder of a training run.

    Args:
        weights: what to pack.
        output: the .safetensors file to write.
        card: a TOML file of texts that the file is to carry: data, licence, figures.
        full: kernels as float32, not float16.
        temperature: divide the classifier's logits by it, so that its probabilities come true.
        min_confidence: the least probability, 0 to 1, at which `nasnet classify` names a picture;
            as it was, if not given.
        bound: a folder of photographs: change the convolutions that pictures of one colour drive
            far beyond what these reach, as little as can be for photographs. The tenth that the
            recipes hold out is not looked at.
        ranges: pictures, any source: measure the ranges that maps have at 512 of them, spread
            evenly, which `--precision int8` needs. Take many kinds. The tenth that the recipes
            hold out is not looked at here either.
        overwrite: replace an output that is there.
        quiet: no summary.
    """
    if output.suffix != ".safetensors":
        raise UsageError(f"{output}: a packed file ends in .safetensors")
    check_file(output, overwrite=overwrite)
    texts = _card(card) if card is not None else {}
    opened = open_weights(weights)
    named = replace(opened.weights, source=texts.get("name", opened.weights.source))
    if temperature != 1:
        named = with_temperature(named, temperature)
    if min_confidence is not None:
        named = replace(named, min_confidence=min_confidence)
    if bound is not None:
        named = _bounded(named, bound, quiet=quiet)
    if ranges is not None:
        named = _ranged(named, ranges, quiet=quiet)
    write_safetensors(named, output, half=not full, card=texts)
    if not quiet:
        note(f"{output}: {output.stat().st_size / 1e6:.1f} MB, {named.source}")


def _bounded(weights: Weights, photos: str, *, quiet: bool) -> Weights:
    needs("torch", extra="torch")
    from nasnet.pictures.sources import Example
    from nasnet.train.bounding import bounded

    def tell(name: str, before: float, after: float) -> None:
        if not quiet:
            note(f"{name}: {before:.2f} widths beyond the usual range, now {after:.2f}")

    some = [Example(one.id, 0, one.read) for one in _not_held_out(photos)]
    return bounded(weights, some, on_change=tell).weights


def _ranged(weights: Weights, source: str, *, quiet: bool) -> Weights:
    from nasnet.compute.ranges import measured
    from nasnet.pictures.recipes import get_recipe, prepare
    from nasnet.pictures.sampling import some_read

    items, recipe, size = _not_held_out(source), get_recipe("photo"), plan_of(weights).height
    found = some_read(
        [one.read for one in items],
        _RANGED,
        lambda picture: prepare(picture, recipe, size, size).pixels,
    )
    if not found:
        raise InputError(f"{source}: none of {len(items)} pictures can be read: no ranges of them")
    with Progress(not quiet) as progress:

        def tell(done: int) -> None:
            progress.update("ranges of the maps", done, len(found))

        ranged = measured(weights, np.stack(found), on_batch=tell)
        progress.note(f"ranges of the maps at {len(found)} pictures of {source}")
    return ranged


def _not_held_out(source: str) -> list[Item]:
    from nasnet.pictures.sampling import held_out
    from nasnet.pictures.sources import SourceOptions, open_source

    every = open_source(source, options=SourceOptions())
    return [item for item in every if not held_out(item.id, _HELD_OUT)]


def _card(path: Path) -> dict[str, str]:
    table = read_toml(path, InputError)
    wrong = [key for key, value in table.items() if not isinstance(value, str)]
    if wrong:
        raise InputError(f"{path}: {wrong[0]} is not a text; a card is a table of texts")
    return table


def _report(opened: Opened) -> dict[str, str | list[str] | dict[str, str]]:
    weights, verdict = opened.weights, opened.verdict
    names = [name for name in weights.arrays if not name.startswith("aux_")]
    values = sum(weights.arrays[name].size for name in names)
    moving = sum(math.prod(weights.arrays[n].shape) for n in names if "/moving_" in n)
    head = f"{weights.num_classes} classes" if weights.num_classes else "none"
    if verdict.head_total:
        head += f", {verdict.head_matched} of {verdict.head_total} tensors published"
    return {
        "source": weights.source,
        "format": opened.format,
        "network": weights.network,
        "task": opened.task,
        "image_size": "x".join(str(side) for side in opened.image_size),
        "parameters": f"{values:,} in {len(names):,} tensors, {values - moving:,} trainable",
        "classifier": head,
        "min_confidence": f"{weights.min_confidence:g}" if weights.min_confidence else "",
        "auxiliary_head": "yes" if len(names) < len(weights.arrays) else "no",
        "fingerprint": fingerprint(weights),
        "padding": weights.padding,
        "ranges": f"of {len(weights.ranges)} maps, for int8" if weights.ranges else "",
        "published_tensors": f"{verdict.matched} of {verdict.total} match",
        "missing": list(verdict.missing),
        "status": weights.status,
        "notes": list(opened.notes),
        "card": dict(opened.card),
    }
