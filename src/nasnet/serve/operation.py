"""What operating the service needs: health, counters, what is served, docs, the page's cookie."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from starlette.responses import Response

from nasnet._version import __version__
from nasnet.serve import metrics
from nasnet.serve.answers import add_route, json_answer, refused
from nasnet.serve.service import Service
from nasnet.serve.site import docs_page

COOKIE = "nasnet_session"


def routes(service: Service, app: FastAPI) -> APIRouter:
    """The routes of operation."""
    router = APIRouter(tags=["Operation"])

    async def docs() -> Response:
        return Response(docs_page(app.openapi()), media_type="text/html")

    async def info() -> Response:
        return json_answer(_info(service))

    async def session() -> Response:
        # Who comes here has shown the key; see `app`.
        cookie = f"{COOKIE}={service.session}; Path=/; HttpOnly; SameSite=Strict"
        return Response(status_code=204, headers={"Set-Cookie": cookie})

    async def healthy() -> Response:
        return json_answer({"status": "ok"})

    async def ready() -> Response:
        text = "ready" if service.ready else "not ready"
        return json_answer({"status": text}, 200 if service.ready else 503)

    async def counters() -> Response:
        return Response(service.metrics.text(), headers={"Content-Type": metrics.CONTENT_TYPE})

    add_route(router, "/info", info, "What is served")
    add_route(router, "/healthz", healthy, "Whether it runs")
    add_route(router, "/readyz", ready, "Whether it takes requests", refusals=(503,))
    text = {"text/plain": {"type": "string"}}
    add_route(router, "/metrics", counters, "Counters for Prometheus", answers=text)
    router.add_api_route(
        "/session",
        session,
        methods=["POST"],
        summary="A cookie for the page, for who has the key",
        status_code=204,
        response_class=Response,
        responses=refused(401),
    )
    router.add_api_route("/docs", docs, include_in_schema=False, response_class=Response)
    return router


def _info(service: Service) -> dict[str, object]:
    options, limits = service.options, service.limits
    searched = service.index is not None or service.photos is not None
    return {
        "version": __version__,
        "models": [
            {
                "name": model.name,
                "version": model.version,
                "weights": model.spec.opened.weights.source,
                "status": model.spec.opened.weights.status,
                "size": [model.height, model.width],
                "recipe": model.extractor.recipe.name,
                "classes": len(model.labels),
                "named": bool(model.spec.opened.weights.labels),
            }
            for model in service.models.values()
        ],
        "index": {"rows": len(service.index or ())} if searched else None,
        "pictures": service.folder is not None,
        "map": options.map is not None,
        "limits": {
            "body_bytes": limits.body_bytes,
            "pictures": limits.pictures,
            "picture_pixels": limits.picture_pixels,
        },
    }
