"""One sign-in attempt: what goes out, and which addresses may come back."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrant.oauth.login import CallbackRefused, Code, Login, begin, read_callback
from regrant.secret import Secret

NOW = 1_000_000.0


def login(entropy: bytes = bytes(range(64)), login_hint: str = "") -> Login:
    return begin(
        client_id="123-app",
        redirect_uri="http://127.0.0.1:5/",
        scopes=["openid"],
        entropy=entropy,
        now=NOW,
        login_hint=login_hint,
    )


LOGIN = login()
GOOD = urlencode({"scope": "openid email", "state": LOGIN.state, "code": "4/0code"})


def reason(url: str, now: float = NOW) -> str:
    outcome = read_callback(LOGIN, url, now)
    assert isinstance(outcome, CallbackRefused)
    assert outcome.advice
    return outcome.reason


def test_state_and_verifier_come_from_different_halves_of_the_entropy() -> None:
    same_state = login(bytes(32) + b"\1" * 32)
    other = login(bytes(32) + b"\2" * 32)
    assert same_state.state == other.state
    assert same_state.verifier != other.verifier
    assert len(LOGIN.state) == 43
    assert len(LOGIN.verifier.reveal()) == 43


def test_too_little_entropy_is_refused() -> None:
    with pytest.raises(ValueError, match="64 random bytes"):
        login(b"x" * 63)


def test_the_challenge_is_the_hash_of_the_verifier() -> None:
    # RFC 7636 appendix B
    verifier = Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    known = Login("c", "r", (), "", "", state="s", verifier=verifier, created_at=0, expires_at=1)
    assert known.challenge == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_the_address_carries_the_challenge_and_never_the_verifier() -> None:
    url = login(login_hint="ann@example.com").authorize_url("https://accounts.example/auth")
    digest = hashlib.sha256(LOGIN.verifier.reveal().encode()).digest()
    fields = parse_qs(urlsplit(url).query)
    assert fields["code_challenge"] == [urlsafe_b64encode(digest).rstrip(b"=").decode()]
    assert fields["state"] == [LOGIN.state]
    assert fields["login_hint"] == ["ann@example.com"]
    assert LOGIN.verifier.reveal() not in url


def test_neither_state_nor_verifier_is_shown() -> None:
    assert LOGIN.state not in repr(LOGIN)
    assert LOGIN.verifier.reveal() not in repr(LOGIN)


PASTED = {
    "url": f"http://127.0.0.1:5/?{GOOD}",
    "path of a request": f"/?{GOOD}",
    "other path": f"http://localhost:8045/oauth/callback?{GOOD}",
    "bare query": GOOD,
    "query with mark": "?" + GOOD,
    "no scheme": f"127.0.0.1:5/?{GOOD}",
    "spaces around": f"  http://127.0.0.1:5/?{GOOD} \n",
    "wrapped by a terminal": f"http://127.0.0.1:5/?{GOOD[:30]}\r\n   {GOOD[30:]}",
    "double quotes": f'"http://127.0.0.1:5/?{GOOD}"',
    "single quotes": f"'http://127.0.0.1:5/?{GOOD}'",
    "typographic quotes": f"“http://127.0.0.1:5/?{GOOD}”",
    "angle brackets": f"<http://127.0.0.1:5/?{GOOD}>",
    "escaped by a shell": f"http://127.0.0.1:5/\\?{GOOD}".replace("&", "\\&").replace("=", "\\="),
    "byte order mark": f"\ufeffhttp://127.0.0.1:5/?{GOOD}\u200b",
    "empty fragment": f"http://127.0.0.1:5/?{GOOD}#",
    "foreign fragment": f"http://127.0.0.1:5/?{GOOD}#state=other",
    "in the fragment": f"http://127.0.0.1:5/#{GOOD}",
    "in the fragment of an empty query": f"http://127.0.0.1:5/?#{GOOD}",
}


@pytest.mark.parametrize("text", PASTED.values(), ids=PASTED.keys())
def test_an_address_is_understood_however_it_was_pasted(text: str) -> None:
    assert read_callback(LOGIN, text, NOW) == Code(Secret("4/0code"))


@pytest.mark.parametrize(
    ("raw", "code"),
    [("4%2F0abc", "4/0abc"), ("4/0abc", "4/0abc"), ("4%252F0abc", "4%2F0abc"), ("a%2Bb", "a+b")],
)
def test_the_code_is_decoded_exactly_once(raw: str, code: str) -> None:
    assert read_callback(LOGIN, f"?state={LOGIN.state}&code={raw}", NOW) == Code(Secret(code))


@given(st.text(max_size=60))
def test_only_the_right_state_passes(state: str) -> None:
    outcome = read_callback(
        LOGIN, "http://127.0.0.1:5/?" + urlencode({"state": state, "code": "4/0code"}), NOW
    )
    assert isinstance(outcome, Code) == (state == LOGIN.state)


@given(st.integers(0, 42), st.characters(categories=["L", "N", "P"]))
def test_a_state_changed_in_one_place_does_not_pass(at: int, letter: str) -> None:
    state = LOGIN.state[:at] + letter + LOGIN.state[at + 1 :]
    outcome = read_callback(LOGIN, urlencode({"state": state, "code": "4/0code"}), NOW)
    assert isinstance(outcome, Code) == (state == LOGIN.state)


@given(st.text(max_size=200))
def test_no_text_raises_and_none_passes_without_the_state(text: str) -> None:
    assert isinstance(read_callback(LOGIN, text, NOW), CallbackRefused)


@pytest.mark.parametrize("length", range(43))
def test_a_part_of_the_state_does_not_pass(length: int) -> None:
    for state in (LOGIN.state[:length], LOGIN.state[43 - length :], LOGIN.state + LOGIN.state[: length + 1]):
        assert reason(urlencode({"state": state, "code": "4/0code"})) in {"state_mismatch", "state_missing"}
    assert reason(urlencode({"state": LOGIN.state.swapcase(), "code": "4/0code"})) == "state_mismatch"


def test_a_state_of_another_sign_in_is_foreign() -> None:
    other = login(b"z" * 64)
    outcome = read_callback(LOGIN, f"?state={other.state}&code=4", NOW)
    assert isinstance(outcome, CallbackRefused)
    assert (outcome.reason, outcome.foreign) == ("state_mismatch", True)


def test_the_state_is_judged_before_an_error_is_believed() -> None:
    assert reason("?error=access_denied&state=forged") == "state_mismatch"
    assert reason("?error=access_denied") == "state_missing"
    assert reason(f"?error=access_denied&state={LOGIN.state}") == "access_denied"


@pytest.mark.parametrize(
    ("error", "word"),
    [
        ("access_denied", "test users"),
        ("admin_policy_enforced", "administrator"),
        ("org_internal", "organization"),
        ("disallowed_useragent", "browser"),
        ("deleted_client", "30 days"),
        ("disabled_client", "disabled"),
        ("invalid_client", "client id"),
        ("redirect_uri_mismatch", "Desktop app"),
        ("invalid_scope", "google.scopes"),
        ("server_error", "few minutes"),
    ],
)
def test_each_error_of_google_has_advice_of_its_own(error: str, word: str) -> None:
    outcome = read_callback(LOGIN, f"http://127.0.0.1:5/?error={error}&state={LOGIN.state}", NOW)
    assert isinstance(outcome, CallbackRefused)
    assert outcome.reason == error
    assert word in outcome.advice
    assert not outcome.foreign


def test_an_unknown_error_is_shown_as_one_bounded_line() -> None:
    outcome = read_callback(
        LOGIN, urlencode({"state": LOGIN.state, "error": "new\r\n\x1b[31m" + "x" * 500}), NOW
    )
    assert isinstance(outcome, CallbackRefused)
    assert outcome.reason.startswith("new [31mxxx")
    assert len(outcome.reason) == 100
    assert outcome.advice.isprintable()


def test_a_sign_in_ends_with_its_lifetime() -> None:
    assert isinstance(read_callback(LOGIN, GOOD, NOW + 599.9), Code)
    assert reason(GOOD, NOW + 600) == "expired"


def test_a_bare_code_is_refused_because_it_proves_nothing() -> None:
    assert reason("4/0AbCdEf-code") == "bare_code"
    assert reason("  4%2F0AbCdEf ") == "bare_code"


def test_what_is_no_callback_is_told_apart() -> None:
    assert reason("") == "unreadable"
    assert reason("http://127.0.0.1:5/") == "unreadable"
    assert reason("http://127.0.0.1:5/?code=4") == "state_missing"
    assert reason(LOGIN.authorize_url("https://accounts.example/auth")) == "code_missing"
    assert reason(f"?state={LOGIN.state}&code=") == "code_missing"


def test_a_text_longer_than_any_address_is_not_read() -> None:
    assert isinstance(read_callback(LOGIN, f"?x={'a' * 16_000}&{GOOD}", NOW), Code)
    assert reason(f"?x={'a' * 16_384}&{GOOD}") == "unreadable"


@pytest.mark.parametrize("extra", ["state=other", "code=other", "error=other"])
def test_a_parameter_that_decides_may_stand_only_once(extra: str) -> None:
    first = GOOD + "&error=x" if extra.startswith("error") else GOOD
    assert reason(f"?{first}&{extra}") == "unreadable"
    assert reason(f"?{extra}&{first}") == "unreadable"
