"""NumPy's .npy files, read as data: no pickle in them is run, and no header is believed."""

from __future__ import annotations

import math
import os
import tokenize
import warnings
from pathlib import Path
from typing import IO, Any

import numpy as np

from nasnet.text import open_regular

# What NumPy raises for damaged headers, which it reads as Python literals.
_NPY_DAMAGE = (TypeError, SyntaxError, EOFError, RecursionError, MemoryError, tokenize.TokenError)


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and type of a `.npy` file, which stays at its data.

    Raises:
        ValueError: it has no readable header.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python 2's way to write numbers, which is read
            if np.lib.format.read_magic(file) == (1, 0):
                return np.lib.format.read_array_header_1_0(file)
            return np.lib.format.read_array_header_2_0(file)
    except _NPY_DAMAGE as error:
        raise ValueError(str(error) or type(error).__name__) from None


def map_npy(path: Path) -> np.memmap[Any, np.dtype[Any]]:
    """The array of a `.npy` file, mapped from it; never a pickle, never more than the file has.

    Raises:
        OSError: there is no such file.
        ValueError: it is damaged.
    """
    with open_regular(path) as file:
        shape, fortran, dtype = npy_header(file)
        place, size = file.tell(), os.fstat(file.fileno()).st_size
    if dtype.hasobject or not all(side >= 0 for side in shape):
        raise ValueError("it is not an array of numbers")
    if place + math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"its {dtype} {list(shape)} are more than the file has")
    mapped: np.memmap[Any, np.dtype[Any]] = np.memmap(
        path, dtype=dtype, shape=shape, order="F" if fortran else "C", mode="r", offset=place
    )
    return mapped
