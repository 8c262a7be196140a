"""What people write to serve a network: FastAPI and ONNX Runtime, in some forty lines.

    python -m benchmarks.serving_peer MODEL.onnx

MODEL takes float32 [n, 224, 224, 3] in [0, 1]. It says `ready at URL` once it listens.
"""

from __future__ import annotations

import io
import socket
import sys

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image


def app_of(model: str) -> FastAPI:
    """The service: a file in a form, its vector in JSON; requests run in FastAPI's threads."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    app = FastAPI()

    @app.post("/embed")
    def embed(files: UploadFile) -> dict[str, list[float]]:
        picture = Image.open(io.BytesIO(files.file.read())).convert("RGB")
        pixels = np.asarray(picture.resize((224, 224), Image.Resampling.BILINEAR), np.float32)
        (vectors,) = session.run(None, {taken.name: pixels[None] / 255})
        return {"vector": vectors[0].tolist()}

    return app


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app_of(sys.argv[1]), log_level="error"))
    print(f"ready at http://127.0.0.1:{listening.getsockname()[1]}/", file=sys.stderr, flush=True)
    server.run(sockets=[listening])
