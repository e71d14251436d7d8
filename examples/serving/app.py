"""A service that names what a picture shows, and forgets concepts while it runs.

    pip install -r examples/serving/requirements.txt
    python examples/serving/app.py --patches patches/

Then open http://127.0.0.1:8000. Copy patch files into the folder at any time.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from PIL import Image
from pydantic import BaseModel
from starlette.middleware.trustedhost import TrustedHostMiddleware
from states import RefusedPatchError, Service, Shelved, UnknownPatchError

import slsgu
from slsgu.data.images import UnreadableImageError, read_image, sides
from slsgu.menagerie import TAXONOMY_FILE, draw

STATIC = Path(__file__).resolve().parent / "static"
MOST_BYTES = 10 << 20  # of an upload
MOST_PIXELS = 40_000_000  # of a picture
PATIENCE = 30  # seconds for an upload
HEADERS = {  # the page fetches from here alone, runs no other script, and sits in no frame
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


class Wanted(BaseModel):
    """What a patch is switched to."""

    on: bool


def create_app(
    service: Service, *, samples: Sequence[str] = (), hosts: Sequence[str] = ("127.0.0.1",)
) -> FastAPI:
    """The service over HTTP.

    Args:
        samples: names of drawings that the page offers to try.
        hosts: names by which it may be called, so that no other site can reach it through a
            visitor's browser.
    """
    app = FastAPI(title="slsgu", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*hosts, "localhost"])
    at_once = anyio.CapacityLimiter(os.cpu_count() or 1)  # further pictures wait

    @app.middleware("http")
    async def safe(request: Request, handle: Any) -> Response:
        response: Response = await handle(request)
        response.headers.update(HEADERS)
        return response

    @app.exception_handler(UnknownPatchError)
    async def unknown(request: Request, error: UnknownPatchError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 404)

    @app.exception_handler(RefusedPatchError)
    async def refused(request: Request, error: RefusedPatchError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 409)

    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/api/patches")
    def patches() -> dict[str, Any]:
        on = service.state.on
        return {
            "model": service.original.clip.name,
            "classes": len(service.labels),
            "samples": list(samples),
            "patches": [described(each, each.name in on) for each in service.shelf()],
        }

    @app.put("/api/patches/{name}")
    def switch(name: str, wanted: Wanted) -> dict[str, Any]:
        return {"on": sorted(service.switch(name, wanted.on).on)}

    @app.post("/api/label")
    async def label(request: Request) -> dict[str, Any]:
        data = await upload(request)
        return await anyio.to_thread.run_sync(answer, service, data, limiter=at_once)

    @app.get("/api/samples/{number}")
    def sample(number: int) -> Response:
        if not 0 <= number < len(samples):
            raise HTTPException(404, "there is no such drawing")
        file = io.BytesIO()
        Image.fromarray(draw(samples[number], 3, seed=500)).save(file, "PNG")
        return Response(file.getvalue(), media_type="image/png")

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


async def upload(request: Request) -> bytes:
    """The body of a request: a picture, as it is, of at most `MOST_BYTES`."""
    data = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for chunk in request.stream():
                data += chunk
                if len(data) > MOST_BYTES:
                    raise HTTPException(413, f"the picture has more than {MOST_BYTES >> 20} MiB")
    except TimeoutError:
        raise HTTPException(408, f"the upload took more than {PATIENCE} seconds") from None
    if not data:
        raise HTTPException(400, "the request has no body: send the bytes of a picture")
    return bytes(data)


def answer(service: Service, data: bytes) -> dict[str, Any]:
    """What the original and the model as it is now say of a picture."""
    state = service.state  # once: it may be swapped at any time
    size = sides(io.BytesIO(data))
    if size is not None and size[0] * size[1] > MOST_PIXELS:
        raise HTTPException(413, f"the picture has more than {MOST_PIXELS:,} pixels")
    try:
        picture = read_image(io.BytesIO(data), "the upload")
    except UnreadableImageError as error:
        raise HTTPException(422, f"this cannot be used as a picture: {error.reason}") from None
    return {
        "on": sorted(state.on),
        "before": service.original.answer(picture, service.labels),
        "after": state.answer(picture, service.labels),
    }


def described(shelved: Shelved, on: bool) -> dict[str, Any]:
    """A patch as JSON values."""
    patch = shelved.patch
    return {
        "name": shelved.name,
        "on": on,
        "refused": shelved.reason,
        "forgets": [] if patch is None else list(patch.requested_paths()),
        "layers": [] if patch is None else list(patch.layers),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patches", type=Path, required=True, help="folder of patch files")
    parser.add_argument("--model", help="as for slsgu apply; default: the embedded drawings")
    parser.add_argument("--pretrained")
    parser.add_argument("--labels", type=Path, help="a file with one class name a line")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument(
        "--name", action="append", default=[], help="host name by which browsers or a proxy call it"
    )
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    if not options.patches.is_dir():
        parser.error(f"--patches {options.patches} is not a folder")
    if (options.model is None) != (options.labels is None):
        parser.error("--model and --labels go together")
    taxonomy = slsgu.Taxonomy.load(TAXONOMY_FILE)
    labels, templates = [leaf.name for leaf in taxonomy.leaves], taxonomy.templates
    if options.labels is not None:
        lines = options.labels.read_text(encoding="utf-8").splitlines()
        labels, templates = [line.strip() for line in lines if line.strip()], ("a photo of a {}",)
    clip = slsgu.load(options.model, options.pretrained)
    service = Service(clip, labels, templates, options.patches)
    drawings = labels[:6] + labels[-2:] if options.model is None else []
    app = create_app(service, samples=drawings, hosts=[options.host, *options.name])
    uvicorn.run(app, host=options.host, port=options.port)


if __name__ == "__main__":
    main()
