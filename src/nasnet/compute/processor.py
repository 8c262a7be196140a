"""What the processor is and can do, where the system says so (Linux)."""

from __future__ import annotations

import platform
import re
from functools import cache
from pathlib import Path


@cache
def description() -> str:
    """Its kind and model, with the names of its features; the same text for the same processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    found = re.findall(r"^(?:model name|flags|Features|CPU part)\s*:(.*)$", text, re.MULTILINE)
    return " ".join([platform.machine(), *sorted(set(found))])


def multiplies_bytes() -> bool:
    """Whether it has x86's instructions that multiply and add bytes (VNNI)."""
    return bool(re.search(r"\bavx\w*_vnni\b", description()))


def multiplies_bfloat16() -> bool:
    """Whether it has x86's instructions that multiply and add numbers in bfloat16."""
    return bool(re.search(r"\b(avx512|amx)_bf16\b", description()))
