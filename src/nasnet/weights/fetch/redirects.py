"""Where a server may send a download: nowhere that is less safe than where it began."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import urllib.request
from typing import IO
from urllib.parse import urlsplit


class Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects go to http(s) only, never from https down to http, and never to machines within.

    A server outside could else have ours ask what only our network can reach.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """What is asked next.

        Raises:
            InvalidURL: it is refused.
        """
        allowed = ("https",) if urlsplit(req.full_url).scheme == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in allowed:
            fp.close()
            raise http.client.InvalidURL(f"redirected to {newurl}, which is refused")
        if _is_within(newurl) and not _is_within(self._url):
            fp.close()
            raise http.client.InvalidURL(
                f"redirected to {newurl}, a machine of the network within, which is refused"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_within(url: str) -> bool:
    """Whether a URL's host is, or its name stands for, an address that is not of the internet."""
    try:
        host = urlsplit(url).hostname or ""
        found = {one[4][0] for one in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
        addresses = [ipaddress.ip_address(str(one).partition("%")[0]) for one in found]
    except (OSError, ValueError):  # a name that nobody knows leads nowhere
        return False
    plain = [getattr(one, "ipv4_mapped", None) or one for one in addresses]
    return any(not one.is_global or one.is_multicast for one in plain)
