"""`/api/keys`: the client keys. A new key is in the answer to its creation and nowhere else, ever."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from litestar import delete, get, post
from litestar.params import FromPath, JSONBody

from regrant.admin.desk import AtDesk
from regrant.admin.errors import ApiError, FieldProblem
from regrant.gateway.keys import SETTINGS_NAME, Key


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """`hint` is how the key ends. The one named `settings` is `server.api_key`. Unix seconds."""

    id: str
    name: str
    hint: str
    created_at: float | None
    last_used_at: float | None


class KeyList(msgspec.Struct, frozen=True):
    items: list[KeyView]
    next: str | None


class NewKey(KeyView, frozen=True, kw_only=True):
    """`key` is shown this once."""

    key: str


class KeyOrder(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


@get("/api/keys", operation_id="list_keys", summary="The client keys that are accepted now")
async def list_keys(desk: AtDesk) -> KeyList:
    return KeyList([msgspec.convert(_fields(key), KeyView) for key in desk.parts.keys.keys], None)


def _fields(key: Key) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "hint": key.hint,
        "created_at": key.created_at or None,
        "last_used_at": key.last_used_at,
    }


@post("/api/keys", operation_id="create_key", summary="Make a client key")
async def create_key(desk: AtDesk, data: JSONBody[KeyOrder]) -> NewKey:
    name = data.name.strip()
    if not name or not name.isprintable() or name == SETTINGS_NAME:
        problem = FieldProblem("name", f'1 to 100 printable characters, other than "{SETTINGS_NAME}"')
        raise ApiError(422, "invalid_request", f"name: {problem.message}", "", problems=[problem])
    files = desk.parts.key_file
    if any(name in {key.name, key.id} for key in await asyncio.to_thread(files.load)):
        raise ApiError(
            409, "name_taken", f"there is a key named {name!r}", "Choose another name, or revoke that key."
        )
    key, secret = await asyncio.to_thread(files.create, name)
    desk.parts.load_keys()
    return msgspec.convert(_fields(key) | {"key": secret.reveal()}, NewKey)


@delete("/api/keys/{key:str}", operation_id="revoke_key", summary="Revoke a client key by its id or name")
async def revoke_key(desk: AtDesk, key: FromPath[str]) -> None:
    files = desk.parts.key_file
    if key == SETTINGS_NAME and desk.parts.settings().server.api_key:
        raise ApiError(
            409, "key_of_settings", "this key is a setting", "Change server.api_key in the settings instead."
        )
    if not any(key in {one.id, one.name} for one in await asyncio.to_thread(files.load)):
        raise ApiError(404, "key_not_found", f"there is no key {key[:100]!r}", "GET /api/keys lists them.")
    await asyncio.to_thread(files.revoke, key)
    desk.parts.load_keys()


ROUTES = [list_keys, create_key, revoke_key]
