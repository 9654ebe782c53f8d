"""docs/errors.md names every code that a client, a script or the traffic record may meet."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from regrant.oauth.login import REASONS
from regrant.upstream.faults import FaultKind

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "errors.md"
CODE_AT = {"AdditionRefused": 0, "ApiError": 1}


def codes_in(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in CODE_AT and len(node.args) > CODE_AT[name]:
            code = node.args[CODE_AT[name]]
            if isinstance(code, ast.Constant) and isinstance(code.value, str):
                yield code.value
        if name == "Problem":
            yield from (
                str(keyword.value.value)
                for keyword in node.keywords
                if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
            )


def codes_in_use() -> set[str]:
    found = {code for path in (ROOT / "src").rglob("*.py") for code in codes_in(path.read_text())}
    return found | {str(kind) for kind in FaultKind} | set(REASONS)


def documented() -> set[str]:
    return set(re.findall(r"^\| `([a-z_]+)`", PAGE.read_text(), re.MULTILINE))


def test_every_code_in_use_is_on_the_page() -> None:
    assert len(codes_in_use()) > 40
    assert codes_in_use() - documented() == set()


def test_the_page_names_no_code_that_nobody_uses() -> None:
    google = {"invalid_grant", "invalid_client", "unauthorized_client"}  # Google's own, handed on
    kinds = {
        "not_found",
        "rate_limit_exceeded",
        "insufficient_quota",
        "server_error",
        "invalid_request_error",
    }
    assert documented() - codes_in_use() - google - kinds == set()
