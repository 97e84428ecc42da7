"""The cookie by which a browser is known that showed a token."""

from fastapi import Request, Response

from registry.api.pages.tray import mark_of
from registry.db.log_ins import LASTS

MOST_LETTERS = 100


def find_log_in(request: Request) -> str | None:
    """Return the secret that a browser sends; what it opens only the database knows."""
    secret = request.cookies.get(_name(request), "")
    return secret if 0 < len(secret) <= MOST_LETTERS else None


def set_log_in(request: Request, response: Response, secret: str) -> None:
    # "lax" and not "strict": a link in somebody's message leads to its page, and not to the log-in.
    # With it other sites get no more than such a click, and no address changes anything by GET.
    response.set_cookie(
        _name(request),
        secret,
        max_age=int(LASTS.total_seconds()),
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="lax",
    )


def drop_log_in(request: Request, response: Response) -> None:
    response.delete_cookie(
        _name(request), path="/", secure=is_secure(request), httponly=True, samesite="lax"
    )


def _name(request: Request) -> str:
    """Name it after the registry: cookies are of a host, whichever of its ports has set them.

    Over https no other host of the domain can set one of this name, by its prefix [1].

    - [1] https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis#name-the-__host-prefix
    """
    prefix = "__Host-" if is_secure(request) else ""
    return f"{prefix}autolora_{mark_of(request.app.state.registry.settings.home)}"


def is_secure(request: Request) -> bool:
    # Behind a proxy it is what a trusted one says (X-Forwarded-Proto).
    return request.url.scheme == "https"
