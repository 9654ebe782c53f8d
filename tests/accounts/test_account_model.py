"""The account file's format, and what is derived from an account."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from regrant.accounts.lifecycle import merge_token
from regrant.accounts.model import (
    HISTORY_LIMIT,
    Account,
    AccountFileError,
    Attention,
    Disablement,
    Freshness,
    HistoryEvent,
    Pause,
    Token,
    decode_account,
    encode_account,
    jitter_share,
    public_fields,
    same_email,
)
from regrant.oauth.google import Granted
from regrant.secret import Secret

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
secrets = st.builds(Secret, texts.map(str.strip))
times = st.integers(0, 2**40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def unknown_fields(kind: type[Any], document: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Fields that a later version or another program may add: any name that is not known."""
    known = {*kind.__struct_fields__, *document, *OPTIONAL}
    return st.dictionaries(texts.filter(lambda name: name not in known), json_values, max_size=3)


OPTIONAL = {
    "client_secret", "schema", "token", "attention", "refresh_token_expires_at",
    "disabled", "disabled_at", "disabled_reason", "disabled_cause",
    "proxy_disabled", "proxy_disabled_at", "proxy_disabled_reason",
}  # fmt: skip
PLAIN = Account(id="ann", email="ann@example.com")

tokens = st.builds(
    Token,
    refresh_token=secrets,
    access_token=secrets,
    expiry_timestamp=times,
    expires_in=st.integers(1, 10**7),
    token_type=texts,
    scope=texts,
    consented_at=st.none() | times,
    refresh_token_expires_at=st.none() | times,
    unknown=unknown_fields(Token, {}),
)
accounts = st.builds(
    Account,
    id=st.just("ann"),
    email=st.emails(),
    sub=texts,
    name=texts,
    label=texts,
    client_id=texts,
    client_secret=secrets,
    project_id=texts,
    upstream=st.sampled_from(["gemini", "vertex"]),
    location=st.sampled_from(["global", "europe-west4"]),
    token=tokens,
    generation=st.integers(1, 2**40),
    disabled=st.none() | st.builds(Disablement, at=times, reason=texts, cause=texts.filter(bool)),
    paused=st.none()
    | st.builds(Pause, at=times, reason=texts.filter(lambda text: text != "quota_protection")),
    attention=st.none() | st.builds(Attention, code=texts, message=texts, url=texts, since=times),
    protected_models=st.lists(texts, max_size=3).map(tuple),
    verified=st.booleans(),
    created_at=times,
    updated_at=times,
    last_used_at=times,
    last_refresh_at=times,
    history=st.lists(st.builds(HistoryEvent, at=times, event=texts, detail=texts), max_size=4).map(tuple),
    revision=st.integers(0, 2**40),
    unknown=unknown_fields(Account, public_fields(PLAIN)),
)


def decode(document: object) -> Account:
    return decode_account(json.dumps(document).encode(), stem="ann")


# -- the file ------------------------------------------------------------------------------------------------------


@given(accounts)
def test_an_account_survives_its_file_with_all_that_others_wrote_into_it(account: Account) -> None:
    assert decode_account(encode_account(account), stem="ann") == account


@given(accounts, json_values, json_values)
def test_unknown_fields_survive_a_rewrite_at_both_levels(account: Account, top: object, deep: object) -> None:
    document = json.loads(encode_account(account))
    document["x_theirs"] = top
    document["token"]["x_theirs"] = deep
    rewritten = json.loads(encode_account(msgspec.structs.replace(decode(document), label="changed")))
    assert rewritten["x_theirs"] == top
    assert rewritten["token"]["x_theirs"] == deep


def test_the_file_holds_the_fields_of_the_contract_by_their_names() -> None:
    account = Account(
        id="ann",
        email="ann@example.com",
        client_secret=Secret("client-secret-1"),
        token=Token(refresh_token=Secret("refresh-ann-1"), refresh_token_expires_at=9),
        disabled=Disablement(at=5, reason="invalid_grant: gone", cause="revoked"),
        paused=Pause(at=6, reason="holiday"),
        attention=Attention(code="wrong_client", message="another client", since=7),
    )
    document = json.loads(encode_account(account))
    assert set(document) == {
        "schema", "revision", "id", "email", "sub", "name", "label", "client_id", "client_secret", "project_id",
        "upstream", "location", "token", "generation", "disabled", "disabled_at", "disabled_reason",
        "disabled_cause", "proxy_disabled", "proxy_disabled_at", "proxy_disabled_reason", "protected_models",
        "attention", "verified", "created_at", "updated_at", "last_used_at", "last_refresh_at", "history",
    }  # fmt: skip
    assert set(document["token"]) >= {
        "refresh_token", "access_token", "expiry_timestamp", "token_type", "scope", "consented_at",
        "refresh_token_expires_at",
    }  # fmt: skip
    assert document["schema"] == 1
    assert (document["disabled"], document["proxy_disabled"]) == (True, True)
    assert document["attention"] == {
        "code": "wrong_client",
        "message": "another client",
        "url": "",
        "since": 7,
    }


def test_keys_of_what_is_not_so_are_absent() -> None:
    document = json.loads(encode_account(PLAIN))
    absent = ("disabled", "proxy_disabled", "attention", "client_secret")
    assert not [key for key in document if key.startswith(absent)]
    assert document["token"]["consented_at"] is None


def test_an_email_is_all_that_a_file_must_hold() -> None:
    assert decode({"email": "ann@example.com"}) == PLAIN


def test_a_file_written_by_hand_may_be_loose() -> None:
    account = decode(
        {
            "email": "ann@example.com",
            "token": {
                "refresh_token": " refresh-ann-1\n",
                "expiry_timestamp": 1700000000.75,
                "expires_in": None,
            },
            "disabled": None,
            "name": None,
            "attention": {"code": "x", "url": None},
            "last_used_at": None,
            "history": [{"event": "hello"}],
        }
    )
    assert account.token.refresh_token == Secret("refresh-ann-1")
    assert account.token.expiry_timestamp == 1700000000
    assert account.token.expires_in == 3600
    assert account.attention == Attention(code="x", message="", since=0)
    assert account.history == (HistoryEvent(at=0, event="hello"),)
    assert account.disabled is None


def test_a_disabled_flag_alone_is_believed() -> None:
    account = decode({"email": "ann@example.com", "disabled": True})
    assert account.disabled == Disablement(at=0, reason="", cause="revoked")
    assert not account.in_pool


def test_disablement_fields_without_the_flag_are_the_owners_word_that_it_is_over() -> None:
    account = decode(
        {"email": "ann@example.com", "disabled": False, "disabled_at": 5, "disabled_reason": "x"}
    )
    assert account.disabled is None
    assert not [key for key in json.loads(encode_account(account)) if key.startswith("disabled")]


@pytest.mark.parametrize(
    ("protected", "expected"), [(None, ("*",)), ([], ("*",)), (["gemini-pro"], ("gemini-pro",))]
)
def test_an_imported_pause_by_quota_protection_holds_models_back_and_is_no_pause(
    protected: list[str] | None, expected: tuple[str, ...]
) -> None:
    account = decode(
        {
            "email": "ann@example.com",
            "proxy_disabled": True,
            "proxy_disabled_at": 5,
            "proxy_disabled_reason": "quota_protection",
            "protected_models": protected,
        }
    )
    assert account.paused is None
    assert account.protected_models == expected
    assert account.in_pool
    assert decode(json.loads(encode_account(account))) == account


def test_a_pause_of_another_reason_is_the_owners_pause() -> None:
    account = decode({"email": "ann@example.com", "proxy_disabled": True, "proxy_disabled_reason": "holiday"})
    assert account.paused == Pause(at=0, reason="holiday")
    assert not account.in_pool


BAD_DOCUMENTS: list[tuple[object, str]] = [
    ([], "JSON object"),
    (None, "JSON object"),
    ({}, "email"),
    ({"email": ""}, "email"),
    ({"email": "  "}, "email"),
    ({"email": None}, "email"),
    ({"email": "ann@example.com", "id": "ben"}, "file name"),
    ({"email": "ann@example.com", "schema": 2}, "newer"),
    ({"email": "ann@example.com", "token": "refresh-ann-1"}, "token"),
    ({"email": "ann@example.com", "token": {"refresh_token": 1}}, "refresh_token"),
    ({"email": "ann@example.com", "disabled": "yes"}, "disabled"),
    ({"email": "ann@example.com", "history": {}}, "history"),
    ({"email": "ann@example.com", "revision": "1"}, "revision"),
]


@pytest.mark.parametrize(("document", "reason"), BAD_DOCUMENTS)
def test_a_file_that_is_no_account_is_refused_with_the_reason(document: object, reason: str) -> None:
    with pytest.raises(AccountFileError, match=reason):
        decode(document)


def test_the_reason_of_a_refusal_holds_no_secret() -> None:
    raw = b'{"email": "ann@example.com", "token": {"refresh_token": "refresh-ann-1", "scope": 3}}'
    with pytest.raises(AccountFileError) as refused:
        decode_account(raw, stem="ann")
    assert "refresh-ann-1" not in str(refused.value)
    with pytest.raises(AccountFileError) as cut:
        decode_account(raw[:-20], stem="ann")
    assert "refresh-ann-1" not in str(cut.value)


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xef\xbb\xbf")
@example(b"\xff\xfe{\x00}\x00")
@example(b"[" * 100_000)
@example(b'{"email":' * 100_000)
@example(b'{"email": "ann@example.com", "x": ' + b"[" * 400 + b"]" * 400 + b"}")
@example(b'{"email": "\\ud800"}')
@example(b'{"email": "\xed\xa0\x80"}')
@example(b'{"email": "ann@example.com", "created_at": 1e999}')
def test_random_bytes_are_an_account_or_are_refused(raw: bytes) -> None:
    try:
        account = decode_account(raw, stem="ann")
    except AccountFileError:
        return
    assert decode_account(encode_account(account), stem="ann") == account


fields = st.sampled_from([*json.loads(encode_account(PLAIN)), *OPTIONAL])
token_fields = st.sampled_from([*json.loads(encode_account(PLAIN))["token"], "refresh_token_expires_at"])
wild = json_values | st.sampled_from(
    [1e308, -1e308, 10**400, -1, 2**63, 2**64, 0.5, "", [None], {"at": 1e308}]
)


@given(st.dictionaries(fields, wild), st.dictionaries(token_fields, wild))
@example({"created_at": 1e308}, {})
@example({"created_at": 10**400}, {})
@example({"history": [{"at": -1e308, "event": "x"}]}, {})
@example({}, {"expires_in": 0.5})
@example({}, {"expires_in": 1e308, "expiry_timestamp": 1e308})
@example({"generation": 10**400}, {})
@example({"attention": {"code": "x", "since": 1e308}}, {})
def test_any_json_in_any_field_is_an_account_that_can_be_written_or_is_refused(
    wild_fields: dict[str, Any], wild_token: dict[str, Any]
) -> None:
    document = {"email": "ann@example.com", "token": wild_token} | wild_fields
    try:
        account = decode(document)
    except AccountFileError:
        return
    assert decode_account(encode_account(account), stem="ann") == account


def test_history_keeps_the_last_50_events() -> None:
    account = PLAIN
    for number in range(60):
        account = account.with_event(number, "refreshed")
    assert [line.at for line in account.history] == list(range(10, 60))
    document = json.loads(encode_account(account))
    document["history"] = [{"at": 0, "event": "old"}, *document["history"]]
    assert decode(document).history == account.history
    assert HISTORY_LIMIT == 50


@given(accounts)
def test_no_secret_is_shown_by_repr_or_by_the_public_fields(account: Account) -> None:
    secret = "refresh-very-secret-1"
    hidden = msgspec.structs.replace(
        account,
        token=msgspec.structs.replace(
            account.token, refresh_token=Secret(secret), access_token=Secret(secret)
        ),
        client_secret=Secret(secret),
    )
    assert secret not in repr(hidden)
    assert secret not in repr(public_fields(hidden))


# -- freshness (rule 6) --------------------------------------------------------------------------------------------

lifetimes = st.integers(1, 10**6)
clocks = st.floats(1.7e9, 2e9)


def received(now: float, lifetime: float, *, account_id: str = "ann", generation: int = 1) -> Account:
    """An account whose access token came at `now` with this `expires_in`."""
    granted = Granted(
        access_token=Secret("access-ann-1"),
        lifetime_s=lifetime,
        token_type="Bearer",
        scope="",
        refresh_token=None,
        refresh_token_lifetime_s=None,
        id_token=None,
    )
    token = merge_token(Token(), granted, now)
    return Account(id=account_id, email="ann@example.com", token=token, generation=generation)


def windows(lifetime: int, share: float) -> tuple[float, float]:
    """Seconds before the end at which the token becomes expired and stale."""
    return min(60.0, lifetime / 10), min(600.0, lifetime / 4) * share


@given(lifetimes | st.floats(1, 10**6), clocks, st.uuids().map(str), st.integers(1, 99))
@example(1, 1700000000.999, "ann", 1)
@example(1.99, 1700000000.999, "ann", 1)
def test_a_token_just_received_is_never_stale(
    lifetime: float, now: float, account_id: str, generation: int
) -> None:
    account = received(now, lifetime, account_id=account_id, generation=generation)
    assert account.freshness(now) is Freshness.FRESH


@given(lifetimes, st.uuids().map(str), st.integers(1, 99))
def test_a_token_is_fresh_then_stale_then_expired_at_the_limits_of_rule_6(
    lifetime: int, account_id: str, generation: int
) -> None:
    account = received(1_700_000_000, lifetime, account_id=account_id, generation=generation)
    end = account.token.expiry_timestamp
    expired, stale = windows(lifetime, jitter_share(account_id, generation))
    tick = 1e-4
    assume(stale - expired > 3 * tick)
    assert account.freshness(end - stale - tick) is Freshness.FRESH
    assert account.freshness(end - stale + tick) is Freshness.STALE
    assert account.freshness(end - expired - tick) is Freshness.STALE
    assert account.freshness(end - expired + tick) is Freshness.EXPIRED
    assert account.freshness(end + 1) is Freshness.EXPIRED


@given(lifetimes, clocks, st.lists(st.floats(0, 2e6), min_size=2, max_size=5))
def test_a_token_only_ever_gets_older(lifetime: int, now: float, ages: list[float]) -> None:
    account = received(now, lifetime)
    order = [Freshness.FRESH, Freshness.STALE, Freshness.EXPIRED]
    ranks = [order.index(account.freshness(now + age)) for age in sorted(ages)]
    assert ranks == sorted(ranks)


@given(st.text(max_size=40), st.integers(0, 2**40))
def test_jitter_refreshes_up_to_a_fifth_later_and_never_earlier(account_id: str, generation: int) -> None:
    share = jitter_share(account_id, generation)
    assert 0.8 <= share <= 1.0
    assert share == jitter_share(account_id, generation)


def test_jitter_spreads_accounts_and_grants_of_one_account() -> None:
    shares = [jitter_share(f"account-{number}", 1) for number in range(1000)]
    assert len(set(shares)) > 900
    assert min(shares) < 0.81
    assert max(shares) > 0.99
    assert math.isclose(sum(shares) / 1000, 0.9, abs_tol=0.01)
    assert jitter_share("ann", 1) != jitter_share("ann", 2)


@pytest.mark.parametrize("expires_in", [None, 0, -5])
def test_a_missing_lifetime_counts_as_an_hour(expires_in: float | None) -> None:
    token = {"access_token": "access-ann-1", "expiry_timestamp": 1_700_003_600, "expires_in": expires_in}
    account = decode({"email": "ann@example.com", "token": token})
    assert account.token.expires_in == 3600
    assert account.freshness(1_700_000_000) is Freshness.FRESH


def test_without_an_access_token_nothing_is_fresh() -> None:
    token = Token(refresh_token=Secret("refresh-ann-1"), expiry_timestamp=2_000_000_000)
    assert msgspec.structs.replace(PLAIN, token=token).freshness(1_700_000_000) is Freshness.EXPIRED


# -- the rest ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("Ann@Example.com", "ann@example.COM", True),
        (" ann@example.com", "ann@example.com\n", True),
        ("straße@example.com", "STRASSE@example.com", True),
        ("ann@example.com", "anna@example.com", False),
    ],
)
def test_emails_are_compared_case_folded(left: str, right: str, same: bool) -> None:
    assert same_email(left, right) is same


@pytest.mark.parametrize(
    ("fields", "default_client", "project"),
    [
        ({"project_id": "my-project", "client_id": "123-abc"}, "456-def", "my-project"),
        ({"client_id": "123-abc.apps.example"}, "456-def", "123"),
        ({}, "456-def", "456"),
        ({}, "", ""),
    ],
)
def test_the_quota_project_is_the_accounts_own_else_the_clients(
    fields: dict[str, str], default_client: str, project: str
) -> None:
    assert msgspec.structs.replace(PLAIN, **fields).project(default_client) == project


@pytest.mark.parametrize(
    ("code", "in_pool"),
    [("refresh_failing", True), ("wrong_client", True), ("scope_missing", False), ("403", False)],
)
def test_attention_about_the_refresh_alone_leaves_the_account_in_the_pool(code: str, in_pool: bool) -> None:
    attention = Attention(code=code, message="look", since=5)
    assert msgspec.structs.replace(PLAIN, attention=attention).in_pool is in_pool
