"""The OpenAPI document as a page, written here: the usual ones load scripts from elsewhere."""

from __future__ import annotations

import html
from typing import Any


def docs_page(document: dict[str, Any]) -> str:
    """The page.

    Args:
        document: as OpenAPI 3.1 has it.
    """
    groups: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            group = (route.get("tags") or ["Others"])[0]
            groups.setdefault(group, []).append(_route(path, method, route))
    title = html.escape(document["info"]["title"])
    sections = "".join(
        f"<section><h2>{html.escape(group)}</h2>{''.join(parts)}</section>"
        for group, parts in groups.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title>"
        '<link rel="icon" href="/assets/icon.svg">'
        '<link rel="stylesheet" href="/assets/theme.css">'
        '<link rel="stylesheet" href="/assets/docs.css">'
        f"</head><body><header><h1>{title}</h1>"
        f"<p>Version {html.escape(document['info']['version'])}. "
        '<a href="/">The page</a> · <a href="/openapi.json">openapi.json</a></p></header>'
        f"<main>{sections}</main></body></html>"
    )


def _route(path: str, method: str, route: dict[str, Any]) -> str:
    rows = [
        f"<tr><th scope=row><code>{html.escape(one['name'])}</code></th>"
        f"<td>{one['in']}</td><td>{html.escape(one.get('description', ''))}</td></tr>"
        for one in route.get("parameters", [])
    ]
    table = f"<table><tbody>{''.join(rows)}</tbody></table>" if rows else ""
    takes = ", ".join(
        f"<code>{html.escape(kind)}</code>"
        for kind in route.get("requestBody", {}).get("content", {})
    )
    gives = ", ".join(
        f"<code>{html.escape(kind)}</code>"
        for kind in route["responses"].get("200", {}).get("content", {})
    )
    statuses = ", ".join(status for status in route["responses"] if status != "200")
    facts = [("Takes", takes), ("Gives", gives), ("Else", statuses)]
    text = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts if value)
    return (
        f"<article><h3><span>{method.upper()}</span> <code>{html.escape(path)}</code></h3>"
        f"<p>{html.escape(route.get('summary', ''))}</p>{table}<dl>{text}</dl></article>"
    )
