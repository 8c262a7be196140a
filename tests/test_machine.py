import os
from pathlib import Path

import pytest

from nasnet import system


def limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(text)
    monkeypatch.setattr(system, "_CGROUP_V2", file)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity masks here")
def test_the_affinity_mask_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit(monkeypatch, tmp_path, "max 100000")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert system.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("text", "cores"), [("150000 100000", 2), ("50000 100000", 1), ("1600000 100000", 16)]
)
def test_a_containers_quota_is_rounded_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, cores: int
) -> None:
    limit(monkeypatch, tmp_path, text)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    assert system.usable_cores() == cores


@pytest.mark.parametrize("text", ["max 100000", "nonsense", ""])
def test_no_quota_means_the_mask_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    limit(monkeypatch, tmp_path, text)
    monkeypatch.setattr(system, "_CGROUP_V1", (tmp_path / "none", tmp_path / "none"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    assert system.usable_cores() == 3
