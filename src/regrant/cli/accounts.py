"""`regrant accounts`: the tree of its commands and their options. What they do is in `standing.py`, `adding.py` and `transfer.py`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from regrant.cli.options import AsJson, DataDir, Everyone, ForModel, One, Some

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


class Upstream(StrEnum):
    GEMINI = "gemini"
    VERTEX = "vertex"


Paste = Annotated[
    bool, typer.Option("--paste", help="Sign in on another machine and paste the address at which it ended.")
]
NoBrowser = Annotated[
    bool, typer.Option("--no-browser", help="Only print the address; open it where you like.")
]
ClientFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The OAuth client's JSON, if it is not the one of the settings.",
        show_default=False,
    ),
]
WaitS = Annotated[float, typer.Option("--wait", hidden=True, min=0.1, max=600.0)]


@app.command("list")
def list_accounts(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the accounts and what state each is in."""
    from regrant.cli import standing

    standing.list_accounts(data_dir, as_json=as_json)


@app.command()
def show(who: One, model: ForModel = "", data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show one account: its state, why, what to do, whether it would serve, and its history."""
    from regrant.cli import standing

    standing.show(data_dir, who, model, as_json=as_json)


@app.command()
def verify(
    who: Some = None, everyone: Everyone = False, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Ask Google once whether the grant lives, also for a disabled account: alive means recovered."""
    from regrant.cli import standing

    standing.verify(data_dir, who, everyone=everyone, as_json=as_json)


@app.command()
def pause(
    who: Some = None,
    reason: Annotated[str, typer.Option(help="Why, for whoever reads it later.", show_default=False)] = "",
    everyone: Everyone = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Take accounts out of use until they are resumed."""
    from regrant.cli import standing

    standing.pause(data_dir, who, reason, everyone=everyone, as_json=as_json)


@app.command()
def resume(
    who: Some = None,
    cooldowns: Annotated[
        bool,
        typer.Option("--cooldowns", help="Also end the cool-downs of the accounts and of their projects."),
    ] = False,
    everyone: Everyone = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Take paused accounts into use again; with --cooldowns also those that were left alone after a failure."""
    from regrant.cli import standing

    standing.resume(data_dir, who, cooldowns=cooldowns, everyone=everyone, as_json=as_json)


@app.command()
def remove(
    who: Some = None,
    revoke: Annotated[
        bool,
        typer.Option(
            "--revoke",
            help="Also revoke the grant at Google. This ends every grant of the account to the whole project.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Delete accounts here; the grant at Google stays unless --revoke is given."""
    from regrant.cli import standing

    standing.remove(data_dir, who, revoke=revoke, yes=yes, as_json=as_json)


@app.command()
def add(
    *,
    oauth: Annotated[bool, typer.Option("--oauth", help="Sign in with a browser.")] = False,
    paste: Paste = False,
    no_browser: NoBrowser = False,
    refresh_token_file: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="A file with a refresh token, - for stdin.", show_default=False),
    ] = None,
    access_token_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|-", help="A file with an access token, for a known --email.", show_default=False
        ),
    ] = None,
    email: Annotated[
        str, typer.Option(help="Whose access token it is; with --oauth, whom to sign in.", show_default=False)
    ] = "",
    adc: Annotated[
        str | None,
        typer.Option(
            metavar="[FILE]",
            help="Application Default Credentials; without FILE those at their usual place.",
            show_default=False,
        ),
    ] = None,
    client_file: ClientFile = None,
    project: Annotated[
        str, typer.Option(metavar="ID", help="Google Cloud project to charge.", show_default=False)
    ] = "",
    upstream: Annotated[
        Upstream | None, typer.Option(help="API for Gemini models.", show_default=False)
    ] = None,
    location: Annotated[str, typer.Option(help="Vertex AI location.", show_default=False)] = "",
    label: Annotated[
        str, typer.Option(metavar="TEXT", help="Your own name for it.", show_default=False)
    ] = "",
    wait_s: WaitS = 600.0,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Add an account, or bring one back that is added again. Give exactly one of --oauth, --refresh-token-file,
    --access-token-file and --adc.
    """
    from regrant.cli import adding

    sources = adding.Sources(
        oauth=oauth, refresh_token_file=refresh_token_file, access_token_file=access_token_file, adc=adc
    )
    preferences = adding.Preferences(
        email=email,
        project_id=project,
        upstream=upstream.value if upstream else "",
        location=location,
        label=label,
    )
    sign_in = adding.SignInStyle(paste=paste, browser=not no_browser, wait_s=wait_s)
    adding.add(data_dir, sources, preferences, client_file, sign_in, as_json=as_json)


@app.command()
def reauth(
    who: One,
    *,
    paste: Paste = False,
    no_browser: NoBrowser = False,
    client_file: ClientFile = None,
    wait_s: WaitS = 600.0,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Sign in again to an account that is here. Signing in with another account is refused."""
    from regrant.cli import adding

    sign_in = adding.SignInStyle(paste=paste, browser=not no_browser, wait_s=wait_s)
    adding.reauthorize(data_dir, who, client_file, sign_in, as_json=as_json)


@app.command("import")
def import_accounts(
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="What to import, - for stdin.", show_default=False)
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    client_file: ClientFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Import accounts: an export, an account file, Application Default Credentials, or a list of e-mails with
    refresh tokens. Each grant is verified at Google.
    """
    from regrant.cli import transfer

    transfer.import_accounts(data_dir, file, client_file, dry_run=dry_run, as_json=as_json)


@app.command("export")
def export_accounts(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Where to (default: stdout).", show_default=False),
    ] = None,
    with_secrets: Annotated[
        bool, typer.Option("--with-secrets", help="With the tokens: whoever reads it has the accounts.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Export all accounts as JSON, without secrets unless they are asked for."""
    from regrant.cli import transfer

    transfer.export_accounts(data_dir, file, with_secrets=with_secrets, as_json=as_json)
