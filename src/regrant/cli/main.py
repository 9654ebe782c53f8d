"""The tree of commands, as `regrant --help` shows it. What each does is in the module of its name.

`regrant serve` is started by `regrant/__main__.py` without coming here; it is listed for its help.
"""

from __future__ import annotations

from typing import Annotated

import typer

from regrant import __version__
from regrant.cli import accounts, config, keys, traffic
from regrant.cli.options import AsJson, DataDir, ForModel, One

app = typer.Typer(
    help="A self-hosted AI gateway that keeps its Google accounts alive.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(accounts.app, name="accounts", help="The Google accounts that the gateway may use.")
app.add_typer(keys.app, name="keys", help="The keys with which clients call the gateway.")
app.add_typer(config.app, name="config", help="The settings.")
app.add_typer(traffic.app, name="traffic", help="What happened to requests.")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"regrant {__version__}")
        raise typer.Exit


@app.callback()
def regrant(
    data_dir: DataDir = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del data_dir, version  # taken by their callbacks


@app.command()
def doctor(
    who: Annotated[
        str | None, typer.Argument(metavar="[EMAIL]", help="Only this account.", show_default=False)
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="A client key: would it be accepted?", show_default=False),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Look at everything that has to be right, and say what to do where it is not."""
    from regrant.cli.doctor import examine

    examine(data_dir, who, key, as_json=as_json)


@app.command()
def logs(
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until interrupted.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the end of the log."""
    from regrant.cli.log_tail import show_log

    show_log(data_dir, lines, follow=follow, as_json=as_json)


@app.command()
def why(request: traffic.Request, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Tell of a request which accounts were tried, what each answered, and what helps."""
    traffic.why(data_dir, request, as_json=as_json)


@app.command("why-not")
def why_not(
    who: One,
    model: ForModel = "",
    key: Annotated[
        str, typer.Option(metavar="NAME", help="With the client key of this name.", show_default=False)
    ] = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether an account would serve; if not, why not, until when, and what helps. Ends with 1 if it would not."""
    from regrant.cli import explaining

    explaining.why_not(data_dir, who, model, key, as_json=as_json)


@app.command()
def demo() -> None:
    """Show the whole story within a minute, on this machine alone: a grant dies, and nobody notices."""
    from regrant.cli.demo import run_demo

    raise typer.Exit(run_demo())


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False
)
def serve(context: typer.Context, data_dir: DataDir = None) -> None:
    """Run the gateway until told to stop; `regrant serve --help` lists its options."""
    from regrant.cli.serve import serve as run_server

    folder = ["--data-dir", str(data_dir)] if data_dir is not None else []
    raise typer.Exit(run_server([*context.args, *folder]))
