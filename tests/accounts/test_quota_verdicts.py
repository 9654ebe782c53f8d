"""What quota protection enters into an account's file, and what of it is a person's."""

from __future__ import annotations

import json

import pytest

from regrant.accounts.diagnosis import advise
from regrant.accounts.events import Edited, Observed, QuotaJudged, Save
from regrant.accounts.lifecycle import Kept, step
from regrant.accounts.model import Account, decode_account, encode_account

NOW = 1_000_000.0
ANN = Account(id="a", email="ann@example.com")


def judged(account: Account, held: dict[str, int], released: frozenset[str] = frozenset()) -> Account:
    kept, effects = step(Kept(account), QuotaJudged(held, released), NOW)
    assert effects == (() if kept.account == account else (Save(),))
    return kept.account


def test_a_verdict_fills_the_models_and_their_ends_and_writes_no_history() -> None:
    account = judged(ANN, {"m": 5, "k": 7})
    assert account.protected_models == ("k", "m")
    assert account.protected_until == {"m": 5, "k": 7}
    assert account.protected_by_hand == frozenset()
    assert account.history == ()
    assert account.in_pool


def test_the_same_verdict_again_changes_nothing() -> None:
    account = judged(ANN, {"m": 5})
    assert judged(account, {"m": 5}) == account


def test_what_is_released_goes_and_what_another_process_entered_stays() -> None:
    account = judged(judged(ANN, {"m": 5}), {"k": 7}, frozenset({"m"}))
    assert (account.protected_models, account.protected_until) == (("k",), {"k": 7})


def test_a_persons_entry_stays_beside_the_verdicts_until_it_is_released_by_name() -> None:
    by_hand, _ = step(Kept(ANN), Edited({"protected_models": ("z", "m")}), NOW)
    account = judged(by_hand.account, {"m": 5, "k": 7})
    assert account.protected_by_hand == {"z", "m"}
    assert account.protected_until == {"k": 7}
    assert judged(account, {}, frozenset({"k"})).protected_models == ("z", "m")
    assert judged(account, {}, frozenset({"z", "m", "k"})).protected_models == ()


def test_the_file_keeps_the_ends_only_of_models_that_are_protected() -> None:
    account = judged(ANN, {"m": 5})
    document = json.loads(encode_account(account))
    assert (document["protected_models"], document["protected_until"]) == (["m"], {"m": 5})
    assert decode_account(encode_account(account), stem="a") == account
    document["protected_models"] = []
    edited = decode_account(json.dumps(document).encode(), stem="a")
    assert (edited.protected_models, edited.protected_until) == ((), {})
    assert "protected_until" not in json.loads(encode_account(edited))


def test_a_file_of_before_has_protected_models_by_hand() -> None:
    document = {"id": "a", "email": "ann@example.com", "protected_models": ["m"]}
    account = decode_account(json.dumps(document).encode(), stem="a")
    assert account.protected_by_hand == {"m"}
    imported = {
        **document,
        "protected_models": [],
        "proxy_disabled": True,
        "proxy_disabled_reason": "quota_protection",
    }
    account = decode_account(json.dumps(imported).encode(), stem="a")
    assert account.protected_by_hand == {"*"}
    assert account.paused is None


def test_a_verdict_of_another_process_is_taken_in_as_it_is() -> None:
    stored = judged(ANN, {"m": 5})
    kept, effects = step(Kept(ANN), Observed(stored), NOW)
    assert (kept.account, effects) == (stored, ())


@pytest.mark.parametrize("by_hand", [True, False])
def test_the_advice_says_who_has_protected_it_and_what_ends_it(by_hand: bool) -> None:
    account = judged(ANN, {"m": 5})
    if by_hand:
        account = step(Kept(ANN), Edited({"protected_models": ("m",)}), NOW)[0].account
    advice = advise(account)
    assert advice is not None
    assert ("by hand" in advice.text) == by_hand
    assert "m" in advice.text
