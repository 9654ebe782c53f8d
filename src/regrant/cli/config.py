"""`regrant config`: the settings, where each comes from, and what is wrong with them. The rules are in `settings/`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from regrant.cli.options import AsJson, DataDir
from regrant.cli.terminal import Failure, remark, say, show_json, show_table

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command()
def show(
    key: Annotated[
        str | None, typer.Argument(help="One key, or a section such as pool.", show_default=False)
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Print each setting in force with its origin; secrets are masked."""
    from regrant import settings

    loaded = settings.load(settings.data_dir(data_dir, os.environ), {}, os.environ)
    shown = [row for row in settings.describe(loaded) if key is None or f"{row.key}.".startswith(f"{key}.")]
    if not shown:
        raise Failure(f"there is no setting {key}", "regrant config show lists all of them.")
    if as_json:
        show_json({"items": [row._asdict() for row in shown], "next": None})
    else:
        show_table(("KEY", "VALUE", "ORIGIN"), shown)
    for warning in loaded.warnings:
        remark(f"warning: {warning}")


@app.command("set", context_settings={"ignore_unknown_options": True})
def set_value(
    key: Annotated[str, typer.Argument(help="Such as server.port.", show_default=False)],
    value: Annotated[
        str,
        typer.Argument(help='Lists and tables as JSON; "-" reads a secret from stdin.', show_default=False),
    ],
    data_dir: DataDir = None,
) -> None:
    """Change config.toml, keeping its comments. Running gateways follow within a second."""
    from regrant import settings
    from regrant.cli.folder import prepared_folder

    folder = prepared_folder(data_dir)
    row = settings.BY_KEY.get(key)
    if value == "-" and row is not None and row.secret:
        value = _read_line()
    settings.save(folder, {key: settings.parse_value(key, value)})
    say(f"set {key} in {folder / 'config.toml'}")
    origin = os.environ.get(settings.BY_KEY[key].environment)
    if origin is not None:
        remark(f"The environment variable {settings.BY_KEY[key].environment} still overrides it.")
    if settings.BY_KEY[key].restart:
        remark("A running gateway takes it when it is started again.")


@app.command()
def path(data_dir: DataDir = None) -> None:
    """Print the path of config.toml, whether or not it exists."""
    from regrant import settings

    say(str(settings.data_dir(data_dir, os.environ) / "config.toml"))


@app.command()
def check(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List everything that is wrong with the settings, unknown keys included."""
    from regrant import settings

    problems = settings.check(settings.data_dir(data_dir, os.environ), {}, os.environ)
    if as_json:
        show_json({"ok": not problems, "problems": list(problems)})
    elif not problems:
        say("The settings are fine.")
    else:
        for problem in problems:
            remark(problem)
    if problems:
        raise typer.Exit(1)


def _read_line() -> str:
    import sys

    return sys.stdin.readline().strip()
