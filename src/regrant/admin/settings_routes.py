"""`/api/settings`: what is set, where it comes from, and changing it in config.toml. Secrets are only ever written."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from litestar import get, patch
from litestar.params import JSONBody

from regrant import logs
from regrant.admin.desk import AtDesk, Desk
from regrant.admin.errors import ApiError, FieldProblem
from regrant.errors import SettingsError
from regrant.settings import BY_KEY, describe, restart_needed, save

log = logs.get("admin")

FILE_ORIGINS = ("default", "config.toml")


class SettingView(msgspec.Struct, frozen=True, kw_only=True):
    """`value` is masked where it is secret. `origin`: default, config.toml, flag, or the environment variable."""

    key: str
    value: Any
    origin: str
    help: str
    allowed: str
    secret: bool
    restart: bool
    """Whether a change needs a restart."""
    environment: str


class SettingsView(msgspec.Struct, frozen=True):
    """`restart`: keys that were changed and wait for one. `overridden`: of the keys just saved, those that something
    stronger than config.toml (a flag, the environment) keeps as they are.
    """

    items: list[SettingView]
    next: str | None
    restart: list[str]
    warnings: list[str]
    overridden: list[str]


@get("/api/settings", operation_id="show_settings", summary="Every setting with its origin")
async def show_settings(desk: AtDesk) -> SettingsView:
    return _view(desk, [])


@patch(
    "/api/settings",
    operation_id="change_settings",
    summary="Change settings in config.toml",
    description='An object of values by key, such as `{"pool.max_attempts": 5}`; null brings the default back.',
)
async def change_settings(desk: AtDesk, data: JSONBody[dict[str, Any]]) -> SettingsView:
    source = desk.parts.settings
    try:
        await asyncio.to_thread(save, source.data_dir, data)
    except SettingsError as error:
        raise _refusal(error) from error
    desk.parts.reload_settings()
    origins = source.loaded.origins
    return _view(desk, [key for key in data if origins[key] not in FILE_ORIGINS])


def _view(desk: Desk, overridden: list[str]) -> SettingsView:
    source = desk.parts.settings
    items = [
        SettingView(
            key=shown.key,
            value=msgspec.json.decode(shown.value),
            origin=shown.origin,
            help=BY_KEY[shown.key].help,
            allowed=BY_KEY[shown.key].kind.allowed,
            secret=BY_KEY[shown.key].secret,
            restart=BY_KEY[shown.key].restart,
            environment=BY_KEY[shown.key].environment,
        )
        for shown in describe(source.loaded)
    ]
    waiting = restart_needed(source.at_start, source.loaded.settings)
    return SettingsView(items, None, waiting, list(source.loaded.warnings), overridden)


def _refusal(error: SettingsError) -> ApiError:
    if error.__cause__ is not None:  # the file could not be written; every other problem is about a value
        log.error("settings_not_saved", f"config.toml was not saved: {error}")
        return ApiError(
            503,
            "not_persisted",
            "config.toml could not be written; nothing has changed.",
            "See that the data folder can be written; the log says why.",
        )
    problems = [FieldProblem(_key_of(sentence), sentence) for sentence in error.problems]
    return ApiError(
        422, "settings_refused", "; ".join(error.problems), "Nothing was saved.", problems=problems
    )


def _key_of(sentence: str) -> str:
    """The key that a problem of the settings begins with."""
    return sentence.partition(":")[0].partition(" ")[0]


ROUTES = [show_settings, change_settings]
