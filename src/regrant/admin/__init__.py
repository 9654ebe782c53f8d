"""The back office: the JSON API under `/api` for the console, the command line of others and scripts.

Imported only when its first request comes; its framework only when `make_office` is called. Client keys open no door
here, and the admin token opens none of the gateway. What the accounts may do is decided in `accounts/`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regrant.admin.parts import Parts

Asgi = Callable[[Any, Any, Any], Awaitable[None]]


def make_office(app: Parts) -> Asgi:
    """The ASGI application for `/api/…` and `/oauth/callback`, working on the parts of a running gateway."""
    from regrant.admin.office import assemble

    return assemble(app)
