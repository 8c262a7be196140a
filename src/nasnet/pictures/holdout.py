"""Which pictures are never trained on: a share of them, chosen by a hash of their names."""

from __future__ import annotations

import hashlib
import re

# ImageNet's own names: a picture that lies in two sets falls on the same side in both.
_IMAGENET = re.compile(r"(n\d{8}_\d+|ILSVRC2012_val_\d+)")


def held_out(id: str, share: float) -> bool:
    """Whether a picture belongs to the share, 0 to 1, that is kept for measuring, by its path."""
    match = _IMAGENET.search(id)
    name = match[1] if match else id
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
