"""`regrant keys`: the keys with which clients call the gateway. What a key is and where it is kept is `gateway/`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from regrant.cli.options import AsJson, DataDir
from regrant.cli.terminal import moment, remark, say, show_json, show_table

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="A name to know the key by.", show_default=False)],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it. It is shown only this once."""
    key, secret = _key_file(data_dir).create(name)
    if as_json:
        show_json({**_view(key), "key": secret.reveal()})
        return
    remark(f'The key "{key.name}" is shown only now. Clients send it as "Authorization: Bearer ...".')
    say(secret.reveal())


@app.command("list")
def list_keys(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the keys; never the keys themselves."""
    keys = _key_file(data_dir).load()
    if as_json:
        show_json({"items": [_view(key) for key in keys], "next": None})
    elif keys:
        rows = [
            (key.name, f"...{key.hint}", moment(key.created_at), moment(key.last_used_at or 0), key.id)
            for key in keys
        ]
        show_table(("NAME", "ENDS IN", "CREATED", "LAST USED", "ID"), rows)
    else:
        remark("There are no keys. Make one: regrant keys create NAME")


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID|NAME", help="The key to revoke.", show_default=False)],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a key; running gateways refuse it within a second."""
    gone = _key_file(data_dir).revoke(key)
    if as_json:
        show_json(_view(gone))
    else:
        say(f"revoked {gone.name}")


def _key_file(folder: Path | None) -> Any:
    from regrant.cli.folder import prepared_folder
    from regrant.clock import SystemClock
    from regrant.gateway.key_file import KeyFile

    return KeyFile(prepared_folder(folder), SystemClock())


def _view(key: Any) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "hint": key.hint,
        "created_at": int(key.created_at),
        "last_used_at": None if key.last_used_at is None else int(key.last_used_at),
    }
