"""A real Chromium without a screen, driven by Selenium; tests that need one skip without it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["PHONE", "WIDE", "browsing", "calm", "calm_within", "driver_options", "requested"]

PHONE = (360, 740)
WIDE = (1280, 900)
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SECONDS = 240  # how long a slow machine may take for anything; no test waits without need
_STARTS = 3  # a browser whose start takes longer than chromedriver waits is started anew


def driver_options(profile: Path, *, dark: bool) -> Any:
    """Chromium's options: no screen, no outside, a camera that shows a test picture."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="Selenium is not installed")
    binary = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if binary is None or shutil.which("chromedriver") is None:
        pytest.skip("no Chromium with chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        "--hide-scrollbars",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--user-data-dir={profile}",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),  # it starts for root in no other way
        *(["--force-dark-mode"] if dark else []),
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return options


@contextmanager
def browsing(profile: Path, *, size: tuple[int, int] = WIDE, dark: bool = False) -> Iterator[Any]:
    """A browser with a window of `size`, light or dark; ended in any case."""
    driver = _started(profile, dark=dark)
    try:
        driver.set_page_load_timeout(_SECONDS)
        driver.set_script_timeout(_SECONDS)
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        yield driver
    finally:
        driver.quit()


def _started(profile: Path, *, dark: bool) -> Any:
    options = driver_options(profile, dark=dark)
    from selenium import webdriver
    from selenium.common.exceptions import SessionNotCreatedException

    for left in reversed(range(_STARTS)):
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        try:
            return webdriver.Chrome(options=options, service=service)
        except SessionNotCreatedException:
            if not left:
                raise
    raise AssertionError


def calm(driver: Any, condition: str) -> Any:
    """Wait until an expression of JavaScript is true, and return it.

    An error counts as not true: what it looks for may not be there yet.
    """
    from selenium.common.exceptions import JavascriptException
    from selenium.webdriver.support.ui import WebDriverWait

    waiting = WebDriverWait(driver, _SECONDS, 0.1, ignored_exceptions=[JavascriptException])
    return waiting.until(
        lambda _: driver.execute_script(f"return {condition}"), f"never came true: {condition}"
    )


def calm_within(driver: Any, frame: str, condition: str) -> Any:
    """The same within a frame, by its CSS selector, which stays the driver's place.

    A frame that is about to load is replaced: it is looked up anew until it holds still.
    """
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.support.ui import WebDriverWait

    def there(_: Any) -> Any:
        driver.switch_to.default_content()
        driver.switch_to.frame(driver.find_element("css selector", frame))
        return driver.execute_script(f"return {condition}")

    waiting = WebDriverWait(driver, _SECONDS, 0.1, ignored_exceptions=[WebDriverException])
    return waiting.until(there, f"never came true in {frame}: {condition}")


def requested(driver: Any) -> list[str]:
    """Addresses the browser asked for since it was last looked at."""
    messages = [json.loads(one["message"])["message"] for one in driver.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
