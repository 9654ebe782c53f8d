"""The options that many commands share. `--data-dir` may stand before or after the command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_KEY = "regrant.data_dir"


def _inherit(context: typer.Context, value: Path | None) -> Path | None:
    if value is not None:
        context.meta[_KEY] = value
    return context.meta.get(_KEY)


DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="FOLDER",
        help="Data folder (default: REGRANT_DATA_DIR, else the user's data folder).",
        callback=_inherit,
        readable=False,  # a folder that cannot be read is told by the command, with what to do
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.", show_default=False)]
One = Annotated[str, typer.Argument(metavar="EMAIL", help="E-mail or id of the account.", show_default=False)]
Some = Annotated[
    list[str] | None,
    typer.Argument(metavar="EMAIL...", help="E-mails or ids of accounts.", show_default=False),
]
ForModel = Annotated[
    str, typer.Option("--model", metavar="NAME", help="Requests for this model.", show_default=False)
]
Everyone = Annotated[bool, typer.Option("--all", help="All accounts.", show_default=False)]
