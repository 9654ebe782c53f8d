from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from regrant.accounts.model import Account, Disablement, Pause, Token
from regrant.cli.bundle import BundleRefused, export_document, read_bundle
from regrant.secret import Secret

KEYS = st.sampled_from(
    [
        "email",
        "token",
        "refresh_token",
        "type",
        "regrant_export",
        "accounts",
        "id",
        "label",
        "client_id",
        "schema",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


def account() -> Account:
    return Account(
        id="one",
        email="ann@example.com",
        label="work",
        token=Token(refresh_token=Secret("refresh-ann-1"), access_token=Secret("access-ann-1")),
        paused=Pause(at=5, reason="holiday"),
        disabled=Disablement(at=6, reason="invalid_grant: x", cause="revoked"),
        protected_models=("a",),
        unknown={"kept": 1},
    )


def read(document: Any) -> Any:
    return read_bundle(json.dumps(document).encode())


def test_an_export_with_secrets_reads_back_as_the_same_account() -> None:
    (line,) = read(export_document([account()], with_secrets=True, at=1))
    assert line.addition is not None
    assert line.addition.refresh_token == Secret("refresh-ann-1")
    assert line.account is not None
    assert line.account.paused == Pause(at=5, reason="holiday")
    assert line.account.protected_models == ("a",)
    assert line.account.unknown == {"kept": 1}


def test_an_export_without_secrets_has_none_and_says_so_when_read() -> None:
    document = export_document([account()], with_secrets=False, at=1)
    assert "refresh-ann-1" not in json.dumps(document)
    (line,) = read(document)
    assert line.addition is None
    assert line.account is not None
    assert "no refresh token" in line.problem


def test_files_of_other_systems_encodings_are_read() -> None:
    text = json.dumps([{"email": "ann@example.com", "refresh_token": "refresh-ann-1"}])
    for encoding in ("utf-8-sig", "utf-16"):
        (line,) = read_bundle(text.encode(encoding))
        assert line.addition is not None


@given(JSON)
def test_whatever_json_is_given_each_line_is_right_or_says_what_is_wrong(document: Any) -> None:
    try:
        lines = read(document)
    except BundleRefused:
        return
    for line in lines:
        assert (line.addition is None) == bool(line.problem)
        assert line.name


@given(st.binary())
def test_whatever_bytes_are_given_they_are_read_or_refused(content: bytes) -> None:
    try:
        read_bundle(content)
    except BundleRefused:
        return
