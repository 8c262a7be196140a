"""How a request is refused: a status, one line of text, and what the connection does next.

`app` turns it into `{"error": text}`.
"""

from __future__ import annotations

TOO_LARGE = "too large"  # how the reasons of `image` begin that are about size


class Refusal(Exception):  # noqa: N818 - it is an answer, not a failure of ours
    """An answer with a status of 4xx.

    Attributes:
        status: the HTTP status.
        text: one line that says what was found and what is expected.
        headers: to send along.
        close: whether the connection ends with the answer.
    """

    def __init__(
        self, status: int, text: str, *, headers: dict[str, str] | None = None, close: bool = False
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers or {}
        self.close = close


def overloaded(text: str, *, seconds: float) -> Refusal:
    """429, with how long to wait (RFC 6585, section 4).

    Args:
        text: what there is too much of.
        seconds: until it is worth trying again.
    """
    return Refusal(429, text, headers={"Retry-After": str(max(1, round(seconds)))})


def of_reason(where: str, reason: str) -> Refusal:
    """The refusal of a picture that cannot be decoded: 413 if it is too large, else 400.

    Args:
        where: which picture, such as `instances[2]`.
        reason: as `PictureError` says it.
    """
    return Refusal(413 if reason.startswith(TOO_LARGE) else 400, f"{where}: {reason}")
