"""Option types and option groups that several commands share.

Called by the other files of the command line.
"""

from __future__ import annotations

import re
from typing import get_args

import click

from nasnet.weights.opening import Averages

__all__ = ["SIZE", "Size", "averages_option"]

Size = tuple[int, int]


class _SizeType(click.ParamType[Size]):
    """`224` or `224x320`, height first, in pixels."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Size:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", str(value))
        if match is None:
            self.fail(f"{value!r} is no size; write 224 or HEIGHTxWIDTH, such as 224x320")
        return int(match[1]), int(match[2] or match[1])


SIZE = _SizeType()

averages_option = click.option(
    "--averages",
    type=click.Choice(get_args(Averages)),
    default="auto",
    show_default=True,
    help="Of a training checkpoint: its variables, their moving averages, or the genuine ones.",
)
