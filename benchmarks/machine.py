"""What a benchmark ran on, in words."""

from __future__ import annotations

import platform
from pathlib import Path

from nasnet.system import usable_cores

__all__ = ["machine", "processor"]


def machine() -> str:
    """Cores, processor and Python, on one line."""
    return f"{usable_cores()} cores ({processor()}), Python {platform.python_version()}"


def processor() -> str:
    """The processor's name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    name = fields.get("model name", platform.machine())
    wide = [
        flag
        for flag in ("avx512f", "avx512_bf16", "amx_bf16")
        if flag in fields.get("flags", "").split()
    ]
    return f"{name} ({', '.join(wide)})" if wide else name
