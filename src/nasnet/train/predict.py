"""Vectors or logits of labelled pictures, in memory, through the fast engine.

What cannot be read is a reason, not an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nasnet.errors import OutputError, PictureError, SourceError, os_errors
from nasnet.features.extractor import Extractor
from nasnet.pictures.recipes import Recipe, open_picture
from nasnet.pictures.resize import pillow_within
from nasnet.pictures.sources import Example, Item
from nasnet.system import sweep, write_whole
from nasnet.text import parse_json
from nasnet.weights.weights import fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """What came of it.

    Attributes:
        values: float32 [pictures, width], of the pictures that could be read, in order.
        rows: int64 [pictures]: which examples these are.
        failures: (id, reason) of the others.
    """

    values: npt.NDArray[np.float32]
    rows: npt.NDArray[np.int64]
    failures: tuple[tuple[str, str], ...]

    def labels(self, examples: Sequence[Example]) -> npt.NDArray[np.int64]:
        """The labels of the rows of `values`, of the examples they were computed from."""
        return np.array([examples[row].label for row in self.rows], np.int64)


def predict(
    examples: Sequence[Example],
    extractor: Extractor,
    *,
    on_done: Callable[[int], None] | None = None,
) -> Predicted:
    """Compute the extractor's endpoint of every example that can be read, and close its engine.

    `on_done` is called with how many are done.

    Raises:
        SourceError: not one picture can be read.
    """
    values: list[npt.NDArray[np.float32]] = []
    failures: list[tuple[str, str]] = []
    readable: list[int] = []
    done = 0
    with extractor:
        for batch in extractor.batches(Item(one.id, one.read) for one in examples):
            good = [row for row, error in enumerate(batch.errors) if error is None]
            readable += [done + row for row in good]
            values.append(batch.vectors[good])
            failures += [
                (id, error)
                for id, error in zip(batch.ids, batch.errors, strict=True)
                if error is not None
            ]
            done += len(batch.ids)
            if on_done is not None:
                on_done(done)
    if not readable:
        first = f": {failures[0][0]}: {failures[0][1]}" if failures else ""
        raise SourceError(f"not one of {len(examples)} pictures can be read{first}")
    return Predicted(
        values=np.concatenate(values),
        rows=np.array(readable, np.int64),
        failures=tuple(failures),
    )


def predict_cached(
    examples: Sequence[Example],
    extractor: Extractor,
    file: Path,
    *,
    identity: str,
    on_done: Callable[[int], None] | None = None,
) -> Predicted:
    """The same, kept in a file: computed only if the file is not there, or is of something else.

    The file is a safetensors file; `identity` is the fingerprint of the examples.

    Raises:
        OutputError: the file cannot be written.
    """
    import json

    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import save

    key = {
        "pictures": identity,
        "weights": fingerprint(extractor.weights),
        "endpoint": extractor.endpoint,
        "recipe": extractor.recipe.name,
        "size": f"{extractor.height}x{extractor.width}",
        "engine": extractor.options.engine,
        "precision": extractor.options.precision,
    }
    sweep(file.parent, file.name)
    if file.exists():
        try:
            with safe_open(str(file), framework="numpy") as stored:
                metadata = stored.metadata() or {}
                if all(metadata.get(name) == value for name, value in key.items()):
                    failures = parse_json(metadata["failures"], str(file), OutputError)
                    return Predicted(
                        values=stored.get_tensor("values"),
                        rows=stored.get_tensor("rows"),
                        failures=tuple((id, reason) for id, reason in failures),
                    )
        except (SafetensorError, OSError, ValueError, KeyError, TypeError):
            pass  # a damaged cache is computed anew
    found = predict(examples, extractor, on_done=on_done)
    metadata = {**key, "failures": json.dumps(list(found.failures))}
    data = save({"values": found.values, "rows": found.rows}, metadata=metadata)
    with os_errors(OutputError, f"{file} cannot be written"):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, data)
    return found


def picture_of(example: Example, recipe: Recipe, longest: int) -> npt.NDArray[np.uint8] | None:
    """One picture to show, in its own shape, as its recipe decodes it; None if it cannot be read.

    Its longer side has `longest` pixels at most.
    """
    try:
        read = open_picture(example.read(), recipe.decoding, target=(longest, longest))
    except PictureError:
        return None
    return pillow_within(read.pixels, longest)
