"""`nasnet convert`: weights of one format become a file of another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from nasnet.cli.flags import Quiet, command
from nasnet.cli.terminal import download_progress, say, say_json
from nasnet.exporting.convert import Conversion, convert as convert_weights
from nasnet.network.plan import Borders
from nasnet.text import display_name
from nasnet.weights.fetch import FetchOptions
from nasnet.weights.formats.writers import FORMATS
from nasnet.weights.opening import Averages


@command
def convert(
    source: str,
    output: Path,
    /,
    *,
    to: Annotated[str | None, Parameter(choices=tuple(FORMATS))] = None,
    json: bool = False,
    classes: Literal["0", "1000", "1001"] | None = None,
    padding: Borders | None = None,
    averages: Averages = "auto",
    overwrite: bool = False,
    quiet: Quiet = False,
    options: FetchOptions,
) -> None:
    """Convert the weights SOURCE into the file OUTPUT, read it back and compare every value.

    SOURCE is whatever --weights takes: a published handle, a TensorFlow checkpoint, hub module,
    SavedModel or frozen graph; a file of Keras (.h5, .weights.h5, .keras), PyTorch (Cadene, timm,
    pytorchcv), TFLite, TF.js, TensorNets or MindSpore; safetensors; builtin; seeded:N. nasnet
    finds out the format from the content. It never runs a pickle.

        nasnet convert nasnetamobile.pth nasnet.safetensors
        nasnet convert model.ckpt NASNet-mobile.h5

    Args:
        source: the weights to read.
        output: the file to write.
        to: the format; taken from the ending of OUTPUT if not given.
        json: the summary as JSON, for programs.
        classes: 0 leaves the classifier out; 1000 drops ImageNet's background class, index 0; 1001
            puts one in that never wins. What readers of the format expect, if not given.
        padding: whose border pixels to note in the file (safetensors only).
        averages: of a training checkpoint: its variables, their moving averages, or the genuine
            ones.
        overwrite: replace OUTPUT if it is there.
        quiet: no summary.
        options: where to look for a handle.
    """
    with download_progress() as on_download:
        done = convert_weights(
            source,
            output,
            to=to,
            classes=None if classes is None else int(classes),
            padding=padding,
            averages=averages,
            overwrite=overwrite,
            fetch=options,
            on_fetch=on_download,
        )
    report = _report(done)
    if json:
        say_json(report)
        return
    if quiet:
        return
    for key, value in report.items():
        for line in value if isinstance(value, list) else [value]:
            say(f"{key.replace('_', ' '):<12} {display_name(line)}")


def _report(done: Conversion) -> dict[str, str | list[str]]:
    weights = done.weights
    head = f"{weights.num_classes} classes" if weights.num_classes else "no classifier"
    return {
        "read": f"{done.opened.weights.source}: {done.format}",
        "network": f"{weights.network}, {head}, {done.tensors:,} tensors",
        "status": done.opened.word,
        "written": f"{done.output}: {done.to}, {FORMATS[done.to].title}",
        "read_back": "every value is equal, bit for bit",
        "fingerprint": done.fingerprint,
        "note": list(done.notes),
    }
