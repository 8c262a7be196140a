"""What a processor's description says it can do."""

from __future__ import annotations

import pytest
import torch

from nasnet.compute import processor
from nasnet.train.loop.replicas import resolved


@pytest.mark.parametrize(
    ("flags", "bytes_", "bfloat16"),
    [
        ("avx2 fma", False, False),
        ("avx2 avx_vnni", True, False),
        ("avx512f avx512_vnni", True, False),
        ("avx512f avx512_vnni avx512_bf16", True, True),
        ("avx512f amx_bf16 amx_tile", False, True),
    ],
)
def test_instructions_are_read_from_the_flags(
    flags: str, bytes_: bool, bfloat16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "description", lambda: f"x86_64 Some Processor {flags}")
    assert processor.multiplies_bytes() is bytes_
    assert processor.multiplies_bfloat16() is bfloat16
    assert resolved("auto", torch.device("cpu")) == ("bf16" if bfloat16 else "f32")
    assert resolved("f32", torch.device("cpu")) == "f32"
