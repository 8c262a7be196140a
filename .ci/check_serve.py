"""The extra `serve` alone brings the page that finds similar photos in a folder."""

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from PIL import Image

with tempfile.TemporaryDirectory() as work:
    photos = Path(work, "photos")
    photos.mkdir()
    for hue in (0, 60, 120):
        Image.new("HSV", (300, 200), (hue, 200, 200)).convert("RGB").save(photos / f"{hue}.jpg")
    command = [sys.executable, "-m", "nasnet", "serve", "--weights", "builtin", "--port", "0"]
    service = subprocess.Popen(
        [*command, "--photos", str(photos)],
        env=os.environ | {"XDG_CACHE_HOME": work},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = iter(service.stderr)
        url = next(found[1] for line in said if (found := re.match(r"ready at (\S+)", line)))
        with urllib.request.urlopen(url) as page:
            assert b"nasnet" in page.read()
        with urllib.request.urlopen(url + "search?k=2", (photos / "60.jpg").read_bytes()) as answer:
            nearest = json.load(answer)["results"][0]["neighbours"]
        assert nearest[0]["id"] == "60.jpg", nearest
        print(f"{url}: {nearest}")
    finally:
        service.terminate()
        service.communicate()
    assert service.returncode == 0, service.returncode
