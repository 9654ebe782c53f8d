"""The OpenAPI description of the back office, made from its routes when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar import Litestar
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from regrant import __version__

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "hint"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "hint": {"type": "string"},
                "problems": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["key", "message"],
                        "properties": {"key": {"type": "string"}, "message": {"type": "string"}},
                    },
                },
            },
        }
    },
}
_REFUSAL = {
    "description": "Refused, or failed: what is wrong and what to do.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}},
}
_SECURITY = Components(
    security_schemes={
        "admin_token": SecurityScheme(
            type="http", scheme="bearer", description="The content of admin.token in the data folder."
        ),
        "session": SecurityScheme(
            type="apiKey",
            security_scheme_in="cookie",
            name="regrant_session",
            description="From POST /api/session; unsafe methods also need its x-csrf-token.",
        ),
    }
)


def describe_api(make: Callable[[OpenAPIConfig], Litestar]) -> dict[str, Any]:
    """The description as JSON can hold it. `make` makes a throw-away application: the real one serves no other docs."""
    config = OpenAPIConfig(
        title="Regrant: back office",
        version=__version__,
        description="Accounts, sign-ins, pool, keys, settings and events of one gateway. Times are unix seconds.",
        components=_SECURITY,
        security=[{"admin_token": []}, {"session": []}],
        render_plugins=[JsonRenderPlugin()],
        use_handler_docstrings=False,
    )
    schema: dict[str, Any] = make(config).openapi_schema.to_schema()
    schema["components"]["schemas"]["Failure"] = _ERROR
    for path in schema["paths"].values():
        for operation in path.values():
            operation["responses"].pop("400", None)
            operation["responses"].get("204", {}).pop("content", None)
            operation["responses"]["default"] = _REFUSAL
    return schema
