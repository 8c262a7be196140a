"""Make the screens of the docs anew: `python .ci/docs_images.py [PHOTOS]`, where Chromium is.

All show `samples:`; the map is of PHOTOS, a folder of class folders, and left as it is without one.
"""

import io
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from selenium import webdriver

from nasnet.pictures.sources import open_source

IMAGES = Path(__file__).parent.parent / "docs" / "images"
NASNET = [sys.executable, "-m", "nasnet"]
BUILTIN = ["--weights", "builtin"]


def main() -> None:
    """Run from the command line."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options)
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        try:
            vectors = [*BUILTIN, "-o", work / "f.parquet", "--page", work / "first.html"]
            subprocess.run([*NASNET, "embed", "samples:", *vectors], check=True)
            keep(driver, "first-page", (1000, 830), (work / "first.html").as_uri())
            if sys.argv[1:]:
                photos, made = Path(sys.argv[1]).resolve(), work / "photos.parquet"
                embed = [*NASNET, "embed", photos.name, *BUILTIN, "-o", made]
                # By its name alone, which the page shows.
                subprocess.run(embed, check=True, cwd=photos.parent)
                drawn = ["-o", work / "map.html", "--thumbnails", "0"]
                subprocess.run([*NASNET, "map", made, *drawn], check=True)
                keep(driver, "map", (1100, 800), (work / "map.html").as_uri())
            keep_service(driver, work)
        finally:
            driver.quit()


def keep_service(driver: Any, work: Path) -> None:  # noqa: ANN401
    """The service's page: at the start, with a chosen picture, on a phone."""
    for item in open_source("samples:"):
        file = work / "photos" / item.id
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(item.read())
    command = [*NASNET, "serve", *BUILTIN, "--photos", work / "photos", "--port", "0"]
    service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert service.stderr is not None
    try:
        url = next(line.split()[-1] for line in service.stderr if line.startswith("ready at "))
        while json.load(urllib.request.urlopen(f"{url}collection"))["map"] != "there":
            time.sleep(0.5)

        def choose() -> None:
            driver.execute_script("document.querySelector('[title^=motorcycle]').click()")
            time.sleep(3)
            driver.execute_script("document.activeElement.blur()")

        keep(driver, "serve-page", (1100, 870), url)
        keep(driver, "serve-near", (1100, 700), url, choose)
        keep(driver, "serve-phone", (390, 760), url)
    finally:
        service.terminate()
        service.communicate()


def keep(
    driver: Any,  # noqa: ANN401
    name: str,
    size: tuple[int, int],
    url: str,
    then: Callable[[], None] | None = None,
) -> None:
    """Two pictures of a page, light and dark."""
    phone = size[0] < 500
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": phone}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": phone})
    for scheme, ending in (("light", ""), ("dark", "-dark")):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        driver.get(url)
        time.sleep(2.5)
        if then is not None:
            then()
        shot = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
        shot.save(IMAGES / f"{name}{ending}.webp", quality=78, method=6)


if __name__ == "__main__":
    main()
