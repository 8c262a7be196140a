"""Weights become a file or folder that another runtime runs, and that is checked at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nasnet.compute.ranges import measured
from nasnet.errors import InputError, OutputError, check_ranges
from nasnet.exporting.outputs import row_for, writing
from nasnet.exporting.request import (
    CALIBRATED,
    OUTPUTS,
    PIXELS,
    PRECISIONS,
    Output,
    Pixels,
    Precision,
    Request,
)
from nasnet.exporting.targets import TARGETS, Target
from nasnet.exporting.verifying import Agreement, compare, pictures_for
from nasnet.network.build import check_sides
from nasnet.network.plan import Borders
from nasnet.system import staged
from nasnet.weights.fetch import FetchEvent, FetchOptions
from nasnet.weights.opening import Averages, Opened, open_weights
from nasnet.weights.ranges import lacking

_PHOTOGRAPHS = "samples:photographs"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """How to export.

    Attributes:
        to: a key of `TARGETS`; told from the output's name if not given.
        output: `features` (the vector), `classifier` (logits and probabilities) or `all` (every
            endpoint); what the module's task says if not given.
        size: height and width of the pictures; the module's own if not given.
        precision: `f32`, `f16`, `int16x8` or `int8`; what the target offers first if not given.
        pixels: `float32` in [0, 1], or `uint8`, where the target can take it.
        batch_size: pictures a run; any number if not given.
        padding: whose border pixels, `slim` or `keras`; what the weights say if not given.
        calibrate: pictures that tell the ranges of maps for int16x8 and int8: any source; if not
            given, LiteRT takes scikit-image's photographs, the others the ranges that the weights
            carry.
        calibration_pictures: at most so many of them.
        verify: run the export by its own runtime and compare.
        pictures: to compare on: any source.
        verify_pictures: at most so many of them.
        averages: of a training checkpoint: its `plain` variables or their moving `average`; `auto`
            takes the set that is published, else the average if there is one.
        overwrite: replace an output that is there.
        fetch: where to look for a handle and what is allowed.
    """

    to: str | None = None
    output: Output | None = None
    size: tuple[int, int] | None = None
    precision: Precision | None = None
    pixels: Pixels | None = None
    batch_size: int | None = None
    padding: Borders | None = None
    calibrate: str | os.PathLike[str] | None = None
    calibration_pictures: int = 100
    verify: bool = True
    pictures: str | os.PathLike[str] = _PHOTOGRAPHS
    verify_pictures: int = 8
    averages: Averages = "auto"
    overwrite: bool = False
    fetch: FetchOptions = field(default_factory=FetchOptions)

    def __post_init__(self) -> None:
        """Refuse what no export could be."""
        for name, value, known in (
            ("output", self.output, OUTPUTS),
            ("precision", self.precision, PRECISIONS),
            ("pixels", self.pixels, PIXELS),
        ):
            if value is not None and value not in known:
                raise InputError(f"no {name} {value!r}; there are {', '.join(known)}")
        counts = ("batch_size", "calibration_pictures", "verify_pictures")
        check_ranges(self, dict.fromkeys(counts, "[1, inf)"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export did.

    Attributes:
        output: the file or folder.
        to: the key of its target.
        opened: the weights as they were opened.
        request: what was written.
        runtime: what ran it for the comparison; empty if nothing did.
        agreements: an endpoint each; empty if it was not verified.
        bytes: size of all that was written.
        notes: what a user should know.
    """

    output: Path
    to: str
    opened: Opened
    request: Request
    runtime: str
    agreements: tuple[Agreement, ...]
    bytes: int
    notes: tuple[str, ...]


def export(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    options: ExportOptions | None = None,
    on_fetch: Callable[[FetchEvent], None] | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Exported:
    """Export weights for another runtime, and prove it by that runtime's own numbers.

    Nothing appears under the output's name before it was compared and agrees.

    Args:
        source: a handle, path or `seeded:N`, as everywhere.
        output: the file or folder.
        options: what, and how.
        on_fetch: told of downloads.
        on_step: told what is being done.

    Raises:
        InputError: no such target, or an option that it does not have.
        OutputError: the output is there already, cannot be written, or computes something else.
        WeightsError: the source holds no NASNet-A weights, or is damaged.
        MissingExtraError: the target's own library is not installed.
        SourceError: there are no pictures to compare or to calibrate on.
    """
    options = options or ExportOptions()
    place = Path(output)
    key, row = row_for(place, TARGETS, options.to, what="target", overwrite=options.overwrite)
    opened = open_weights(
        os.fspath(source),
        averages=options.averages,
        padding=options.padding,
        fetch_options=options.fetch,
        on_event=on_fetch,
    )
    request = _request(opened, key, row, options)
    tell = on_step or (lambda text: None)
    notes = list(opened.notes)
    if request.precision in CALIBRATED and not (row.ranged and options.calibrate is None):
        tell("reading calibration pictures")
        found, what = pictures_for(
            request, options.calibrate or _PHOTOGRAPHS, options.calibration_pictures
        )
        notes.append(f"calibrated on {what}")
        if row.ranged:
            request = replace(request, weights=measured(request.weights, found))
        else:
            request = replace(request, calibration=found.astype(np.float32) / np.float32(255))
    agreements: tuple[Agreement, ...] = ()
    runtime = ""
    with staged(
        place, last=row.taken or "".join(row.suffixes), overwrite=options.overwrite
    ) as made:
        tell(f"writing {key}")
        with writing(place):
            row.write(request, made)
        if options.verify:
            pictures, what = pictures_for(request, options.pictures, options.verify_pictures)
            tell(f"running it on {what}")
            notes.append(f"compared on {what}")
            run = row.run(request, made)
            runtime = run.runtime
            agreements = compare(request, run, pictures)
            _check(agreements, place, runtime, request.precision, row)
        size = sum(file.stat().st_size for file in made.parent.rglob("*") if file.is_file())
    return Exported(
        output=place,
        to=key,
        opened=opened,
        request=request,
        runtime=runtime,
        agreements=agreements,
        bytes=size,
        notes=tuple(notes),
    )


def _request(opened: Opened, key: str, row: Target, options: ExportOptions) -> Request:
    weights = opened.weights
    precision = options.precision or row.precisions[0]
    pixels = options.pixels or row.pixels[0]
    for name, value, known in (
        ("precision", precision, row.precisions),
        ("pixels", pixels, row.pixels),
    ):
        if value not in known:
            raise InputError(f"{key} has no {name} {value}; it has {', '.join(known)}")
    if precision in CALIBRATED and pixels == "uint8" and not row.ranged:
        raise InputError(f"{precision} takes float32 pixels: it is their range that is calibrated")
    if options.batch_size and not row.fixed_batch:
        raise InputError(f"{key} holds weights, which have no batch size")
    if weights.padding != "slim" and not row.keeps_padding:
        raise InputError(
            f"{key} cannot say that padding={weights.padding}: what reads it would compute "
            "TF-Slim's numbers; take another target, or --padding slim"
        )
    if precision in CALIBRATED and row.ranged and not (weights.ranges or options.calibrate):
        raise InputError(
            f"{lacking(weights.source)}; --calibrate PHOTOS does it for this file alone"
        )
    height, width = opened.image_size if options.size is None else check_sides(options.size)
    output: Output = options.output or (
        "classifier" if opened.task == "classification" else "features"
    )
    request = Request(
        weights=weights,
        task=opened.task,
        height=height,
        width=width,
        output=output,
        precision=precision,
        pixels=pixels,
        batch_size=options.batch_size,
    )
    _ = request.endpoints  # refuses a classifier where there is none
    return request


def _check(
    agreements: tuple[Agreement, ...], place: Path, runtime: str, precision: Precision, row: Target
) -> None:
    off = [one for one in agreements if not one.agrees]
    if off:
        worst = min(off, key=lambda one: one.cosine)
        remedy = ""
        if precision in CALIBRATED:
            finer = row.precisions[row.precisions.index(precision) - 1]
            remedy = f"--calibrate it on pictures of your own kind, or take --precision {finer}; "
        raise OutputError(
            f"{place}: {runtime} gives another {worst.endpoint}: cosine {worst.cosine:.6f}, "
            f"largest error {worst.error:.1e} of the largest value (allowed: "
            f"{worst.limit.cosine:.6f}, {worst.limit.error:.0e}); nothing was kept: "
            f"{remedy}--no-verify keeps it"
        )
