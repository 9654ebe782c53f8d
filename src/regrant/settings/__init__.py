"""The operator's settings and the data folder.

`table` is the one list of settings; `values` and `addresses` say what is accepted; `loading` finds each value and
its origin; `model` is the typed result; `saving` writes config.toml; `layout` makes the data folder.
"""

from regrant.settings.layout import data_dir, ensure_layout
from regrant.settings.loading import (
    Loaded,
    Shown,
    check,
    describe,
    load,
    make,
    parse_value,
    restart_needed,
    value_at,
)
from regrant.settings.model import Log, ModelRule, OAuthClient, QuotaLimit, Server, Settings
from regrant.settings.saving import save
from regrant.settings.table import BY_KEY, SETTINGS, Setting

__all__ = [
    "BY_KEY",
    "SETTINGS",
    "Loaded",
    "Log",
    "ModelRule",
    "OAuthClient",
    "QuotaLimit",
    "Server",
    "Setting",
    "Settings",
    "Shown",
    "check",
    "data_dir",
    "describe",
    "ensure_layout",
    "load",
    "make",
    "parse_value",
    "restart_needed",
    "save",
    "value_at",
]
