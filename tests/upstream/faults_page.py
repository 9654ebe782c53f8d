"""Writes docs/faults.md from the recorded answers and the code that judges them: `python -m tests.upstream.faults_page`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

from tests.upstream.recorded import CASES, NOW, UNTIL_MIDNIGHT, Case

from regrant.errors import (
    AnswerTimeout,
    BadAnswer,
    BodyCut,
    BodyIdle,
    CertificateRefused,
    ConnectFailed,
    ResetBeforeAnswer,
    TransportError,
)
from regrant.upstream.classifier import classify_answer, classify_transport
from regrant.upstream.faults import (
    Fault,
    Hold,
    Remedy,
    Scope,
    account_died,
    token_refused,
    token_unavailable,
)

TARGET = Path(__file__).resolve().parents[2] / "docs" / "faults.md"

HEAD = """# What Google says, what Regrant does, what you can do

This page is made by `python -m tests.upstream.faults_page`: recorded answers, judged by `upstream/classifier.py`. A test fails when it is
not up to date. What a client is told in the end is in [error codes](errors.md); how a request goes on is in [the journey](journey.md).

"""

HOLDS = """
## How long something is left alone

What is left alone is exactly what the fault is about: one model of one project, a whole project (money), one account, or one model for everybody
(overload). A time that Google names is kept to the second, however long it is; a day's quota comes back at midnight Pacific time.

Where Google names no time, Regrant guesses. "about 30 s, growing" in the table means: 30 seconds the first time, twice as long each further
time, up to a limit, spread by a fifth so that several processes do not come back together. When a guess is over, **one** request tries first, and the
others keep to other accounts: if it succeeds, everything is open again; if not, the next pause is longer.

An account that needs **attention** is out of the pool. Its owner is told what to do, with Google's link. It comes back by itself: now and then (after
five minutes, then ten, up to an hour) one real request tries it, and the first success ends the attention. `regrant accounts verify` does not wait for that.
Billing is tried in the same way; until then the whole project is out.

Cool-downs are kept in `state.sqlite3`: they hold in every process on the data folder and survive a restart. `regrant accounts resume EMAIL --cooldowns`
ends those of an account and its project by hand, `POST /api/pool/clear` those of an account, a project or a model.
"""

_REMEDIES = {
    Remedy.REFRESH: "renews the token, then the same account once more",
    Remedy.MEND: "the same account once more, without the signatures",
    Remedy.OTHER_ACCOUNT: "another account",
    Remedy.OTHER_PROJECT: "an account of another project",
    Remedy.ONCE_MORE: "once more in all, on another account",
    Remedy.GIVE_UP: "tells the client",
}
_SCOPES = {
    Scope.PROJECT_MODEL: "this model of the project",
    Scope.PROJECT: "the whole project",
    Scope.ACCOUNT: "the account",
    Scope.MODEL: "the model, for everybody,",
}
_TRANSPORT: list[tuple[str, TransportError]] = [
    ("no connection: refused, DNS, unreachable", ConnectFailed("")),
    ("a certificate that is not trusted", CertificateRefused("")),
    ("the connection breaks before an answer", ResetBeforeAnswer("")),
    ("no answer in time", AnswerTimeout("")),
    ("the answer stops coming", BodyIdle("")),
    ("the answer breaks off", BodyCut("")),
    ("something that is not HTTP", BadAnswer("")),
]
_TOKENS = [
    ("`invalid_grant` to the refresh: the account is disabled", account_died()),
    ("the token endpoint is away", token_unavailable()),
    ("the token endpoint refuses the OAuth client", token_refused(oauth_client=True)),
    ("the account was paused or needs attention meanwhile", token_refused()),
]


def render() -> str:
    columns = "| Google says | fault, whose | Regrant does | you can do |\n|---|---|---|---|\n"
    sections = (
        ("Answers of the model API", ((case.says, judge(case)) for case in CASES if case.listed)),
        ("No answer", ((says, classify_transport(error)) for says, error in _TRANSPORT)),
        ("No token", iter(_TOKENS)),
    )
    return HEAD + "\n".join(f"## {title}\n\n{columns}{table(rows)}" for title, rows in sections) + HOLDS


def judge(case: Case) -> Fault:
    raw = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
    return classify_answer(case.status, list(case.headers), raw, case.call)


def table(rows: Iterator[tuple[str, Fault]]) -> str:
    return "".join(row(says, fault) for says, fault in rows)


def row(says: str, fault: Fault) -> str:
    attention = f"; attention `{fault.attention.code}`" if fault.attention else ""
    does = _REMEDIES[fault.remedy] + (f"; {rest(fault.hold)}" if fault.hold else "") + attention
    link = f" <{fault.url}>" if fault.url else ""
    whose = fault.whose.value.replace("_", " ")
    cells = (says, f"`{fault.kind}`, {whose}", does, fault.advice + link)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def rest(hold: Hold) -> str:
    """How long what is left alone, in words."""
    scope = _SCOPES[hold.scope]
    if math.isinf(hold.until):
        return f"{scope} rests until a person acts"
    seconds = hold.until - NOW
    if hold.guessed:
        return f"{scope} rests about {in_words(seconds)}, growing"
    if math.isclose(seconds, UNTIL_MIDNIGHT):
        return f"{scope} rests until midnight Pacific time"
    return f"{scope} rests {in_words(seconds)}"


def in_words(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size or seconds == size == 3600:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:.3g} s"


if __name__ == "__main__":
    TARGET.write_text(render())
