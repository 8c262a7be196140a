"""Seconds from `nasnet serve --photos FOLDER` to the first picture of the page in a browser.

    python -m benchmarks.gallery FOLDER [--rounds 3]

Chromium runs already. A cold start has an empty cache of its own: nothing is compiled, no vector is
known. A warm start comes after one of the same folder that computed all. Where root measures,
the system's cache of files is dropped before a cold start as well.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.machine import machine

_FIRST, _ALL = 1, 24  # pictures of the gallery
# Told of so many pictures that are there, one frame after the browser has drawn them.
_SEEN = """
const [count, done] = arguments;
const look = () => {
  const there = [...document.querySelectorAll("#gallery img")].filter((one) => one.naturalWidth);
  if (there.length < count) setTimeout(look, 5);
  else requestAnimationFrame(() => requestAnimationFrame(() => done(Date.now() / 1000)));
};
look();
"""


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    told = parser.parse_args()
    print(f"{machine()}; load {os.getloadavg()[0]:.1f}\n")
    with tempfile.TemporaryDirectory() as kept:
        found: dict[str, list[tuple[float, float]]] = {"cold": [], "warm": []}
        for _ in range(told.rounds):
            with tempfile.TemporaryDirectory() as empty:
                with suppress(OSError):
                    Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
                found["cold"].append(_start(told.folder, empty))
        _start(told.folder, kept, whole=True)
        for _ in range(told.rounds):
            found["warm"].append(_start(told.folder, kept))
    print("| start | first picture, s | all 24 in view, s |\n|---|---|---|")
    for name, rows in found.items():
        first, every = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"| {name} | {first:.1f} | {every:.1f} |")


def _start(folder: Path, cache: str, *, whole: bool = False) -> tuple[float, float]:
    with _browser() as browser:
        begun = time.time()
        command = [sys.executable, "-m", "nasnet", "serve", "--weights", "builtin"]
        service = subprocess.Popen(
            [*command, "--photos", str(folder), "--port", "0"],
            env={**os.environ, "XDG_CACHE_HOME": cache},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert service.stderr is not None
            line = next(line for line in service.stderr if line.startswith("listening at "))
            url = line.split()[-1]
            browser.get(url)
            seen = [browser.execute_async_script(_SEEN, count) for count in (_FIRST, _ALL)]
            while whole and _state(url) != "done":
                time.sleep(1)
        finally:
            service.terminate()
            service.communicate()
    return seen[0] - begun, seen[1] - begun


def _state(url: str) -> str:
    with urllib.request.urlopen(f"{url}collection") as answer:
        return str(json.load(answer)["state"])


@contextmanager
def _browser() -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    for argument in ("--headless=new", "--disable-gpu", "--window-size=1280,900", *root):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options)
    try:
        driver.set_script_timeout(120)
        driver.get("about:blank")
        yield driver
    finally:
        driver.quit()


if __name__ == "__main__":
    main()
