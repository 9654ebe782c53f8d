"""`regrant traffic tail|show|stats` and `regrant why`: what happened to requests, read from the traffic log in the data folder.

Works whether or not a gateway runs. What a request's story is, is decided in `traffic/explanation.py`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from regrant.cli.options import AsJson, DataDir

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

POLL_S = 0.25
PAGE = 1000

Request = Annotated[
    str, typer.Argument(metavar="REQUEST", help="The id of a request, or how it begins.", show_default=False)
]


@app.command()
def tail(  # noqa: PLR0917 - options, given by name
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last requests.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until interrupted.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that failed.")] = False,
    model: Annotated[str, typer.Option(help="Only this model, asked for or served.")] = "",
    account: Annotated[str, typer.Option(help="Only where this account was tried: its id.")] = "",
    key: Annotated[str, typer.Option(help="Only of the client key of this name.")] = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the last requests, the newest last; with --json one object a line."""
    from regrant.cli.terminal import remark
    from regrant.traffic.history import Filter

    history = _history(data_dir)
    wanted = Filter(failed=failed, model=model, account=account, key=key)
    seen = history.last_number()
    records = history.newest(wanted, lines).records if lines else []
    for record in reversed(records):
        _print_line(record, as_json=as_json)
    if not records and not follow:
        remark("There is no such traffic.")
    while follow:
        page = history.since(wanted, seen, PAGE)
        for record in page.records:
            _print_line(record, as_json=as_json)
        # A file that was begun anew counts from the beginning.
        newest = history.last_number()
        seen = 0 if newest < seen else page.last or seen
        if not page.records:
            time.sleep(POLL_S)


@app.command()
def show(request: Request, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show all that is kept of one request."""
    from regrant.cli.terminal import moment, one_line, say, show_json

    record, story, bodies = _tell(data_dir, request)
    if as_json:
        show_json(_document(record, story, bodies))
        return
    tokens = ", ".join(
        f"{count} {name.removesuffix('_tokens')}" for name, count in record.tokens.items() if count
    )
    facts = {
        "id": record.id,
        "at": moment(record.at),
        "dialect": record.dialect,
        "model": record.model,
        "served by": record.served_model,
        "status": str(record.status),
        "problem": record.problem,
        "key": record.key,
        "took": f"{record.ms:.0f} ms",
        "first event": "" if record.first_ms is None else f"{record.first_ms:.0f} ms",
        "tokens": tokens,
        "dropped": ", ".join(record.dropped),
    }
    for name, value in facts.items():
        if value:
            say(f"{name + ':':<14}{one_line(value)}")
    for step in story.steps:
        said = f"  {step.said}" if step.said else ""
        say(
            one_line(
                f"  {step.email or step.account_id}  {step.status or '-'}  {step.fault or 'served'}  {step.ms:.0f} ms{said}"
            )
        )
    if bodies is not None:
        for name, body in (("asked", bodies.request), ("answered", bodies.answer)):
            say(f"{name} ({body.bytes} bytes{', cut' if body.cut else ''}):")
            for line in body.text.splitlines():
                say(f"  {one_line(line)}")


@app.command()
def stats(
    by: Annotated[
        str,
        typer.Option(help="hour, day, model, served_model, account, key, dialect, problem or status."),
    ] = "model",
    hours: Annotated[float, typer.Option(min=0.01, max=1e6, help="How far to look back.")] = 24.0,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Count requests, failures, times and tokens."""
    import msgspec

    from regrant.cli.terminal import USAGE, Failure, moment, remark, show_json, show_table
    from regrant.traffic.stats import WAYS, measure

    if by not in WAYS:
        raise Failure(f"--by {by}: choose one of {', '.join(WAYS)}", code=USAGE)
    now = time.time()
    found = measure(_history(data_dir), since=now - hours * 3600, until=now + 1, by=by)  # type: ignore[arg-type]  # one of WAYS
    if as_json:
        show_json(msgspec.to_builtins(found))
        return
    if not found.total.requests:
        remark("There was no traffic.")
        return
    rows = [
        _figures(moment(one.at) if one.at is not None else one.name or "(none)", one) for one in found.items
    ]
    headings = (
        "REQUESTS",
        "FAILED",
        "LEFT",
        "RESCUED",
        "P50 MS",
        "P95 MS",
        "P99 MS",
        "FIRST P50",
        "TOKENS IN",
        "OUT",
    )
    show_table((by.upper(), *headings), [*rows, _figures("total", found.total)])


def why(folder: Path | None, request: str, *, as_json: bool) -> None:
    """Tell the story of one request."""
    from regrant.cli.terminal import one_line, say, show_json
    from regrant.traffic.explanation import in_words

    record, story, bodies = _tell(folder, request)
    if as_json:
        show_json(_document(record, story, bodies))
        return
    for line in in_words(record, story):
        say(one_line(line))


def _history(folder: Path | None) -> Any:
    from regrant.settings import data_dir
    from regrant.traffic.history import History

    return History(data_dir(folder, os.environ))


def _tell(folder: Path | None, request: str) -> tuple[Any, Any, Any]:
    """The record, its explanation with the accounts as they stand now, and its bodies. Raises Failure."""
    from regrant.cli.session import run_on
    from regrant.cli.shown import account_view
    from regrant.traffic.explanation import Person, explain

    history = _history(folder)
    record = _find(history, request)

    async def meet(app: Any) -> dict[str, Person]:
        entries = [app.keeper.entry(attempt.account_id) for attempt in record.attempts]
        views = [account_view(app, entry) for entry in entries if entry is not None]
        return {view["id"]: Person(view["email"], view["state"]) for view in views}

    people = run_on(folder, meet) if record.attempts else {}
    return record, explain(record, people), history.bodies(record.id)


def _find(history: Any, request: str) -> Any:
    from regrant.cli.terminal import Failure

    begin = request.strip().removeprefix("req_")
    found = history.matching(begin) if begin else []
    exact = [record for record in found if record.id == f"req_{begin}"] or found
    if not exact:
        raise Failure(
            f"the traffic log has no request {request}",
            "The id is in the answer's x-request-id header; it is written within a second, and kept for"
            " traffic.keep_days. `regrant traffic tail` shows the last ones.",
        )
    if len(exact) > 1:
        ids = ", ".join(record.id for record in exact[:5])
        raise Failure(f"several requests begin with {request}: {ids}", "Give more of the id.")
    return exact[0]


def _document(record: Any, story: Any, bodies: Any) -> dict[str, Any]:
    """The object of GET /api/traffic/{id}."""
    import msgspec

    return {
        **msgspec.to_builtins(record),
        "explanation": msgspec.to_builtins(story),
        "bodies": msgspec.to_builtins(bodies),
    }


def _print_line(record: Any, *, as_json: bool) -> None:
    import msgspec

    from regrant.cli.terminal import one_line, say

    if as_json:
        say(msgspec.json.encode(record).decode())
        return
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.at))
    faults = [attempt.fault for attempt in record.attempts if attempt.fault]
    met = f"  met {', '.join(faults)}" if faults else ""
    trouble = f"  {record.problem}" if record.problem else ""
    model = (
        record.model if record.model == record.served_model else f"{record.model} -> {record.served_model}"
    )
    say(one_line(f"{when}  {record.status}  {record.ms:7.0f} ms  {record.id}  {model}{trouble}{met}"))


def _figures(name: str, one: Any) -> tuple[str, ...]:
    return (
        name,
        *(str(count) for count in (one.requests, one.failures, one.left, one.rescued)),
        *("" if ms is None else f"{ms:.0f}" for ms in (one.ms.p50, one.ms.p95, one.ms.p99, one.first_ms.p50)),
        *(str(one.tokens.get(kind, 0)) for kind in ("input_tokens", "output_tokens")),
    )
