"""One attempt to sign in, from the address that the user opens to the code that comes back.

A `Login` is a value: whoever began it keeps it until it is used or over, and forgets it then, so that a callback counts
once. The address may come back by a listener (`loopback.py`, the gateway's `/oauth/callback`) or be pasted by hand from
another machine. The exchange of the code is in `client.py`.
Source: RFC 6749 section 4.1.2, RFC 7636 (PKCE), RFC 8252 section 7.3.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import parse_qsl

import msgspec

from regrant.oauth import google
from regrant.oauth.wire import one_line
from regrant.secret import Secret

LOGIN_LIFETIME_S = 600.0
ENTROPY_BYTES = 64
MAX_CALLBACK_CHARS = 16_384

_NEVER_IN_A_URL = frozenset(
    '"<>\\^`{|}'
)  # RFC 3986 appendix A; what quoting, wrapping and shells leave behind
_READ_ONCE = frozenset({"state", "code", "error"})
_AGAIN = "Start the sign-in again and use the new address."


@dataclass(frozen=True, slots=True)
class Login:
    """A sign-in under way. Times are unix seconds; `account_id` is the account to re-authorize, "" for a new one."""

    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    login_hint: str
    account_id: str
    state: str = field(repr=False)
    verifier: Secret
    created_at: float
    expires_at: float

    @property
    def challenge(self) -> str:
        """What the verifier proves later (S256)."""
        return _base64url(sha256(self.verifier.reveal().encode("ascii")).digest())

    def authorize_url(self, endpoint: str) -> str:
        """The address to open; `endpoint` is the settings' `google.endpoints.authorize`."""
        return google.authorize_url(
            endpoint,
            client_id=self.client_id,
            redirect_uri=self.redirect_uri,
            scopes=self.scopes,
            state=self.state,
            challenge=self.challenge,
            login_hint=self.login_hint,
        )


class Code(msgspec.Struct, frozen=True):
    """The authorization code, ready for the exchange. It works once and for about ten minutes."""

    code: Secret


class CallbackRefused(msgspec.Struct, frozen=True):
    """The sign-in did not succeed. `reason` is one of REASONS or Google's error code; `advice` says what to do next."""

    reason: str
    advice: str

    @property
    def foreign(self) -> bool:
        """Whether the address belongs to no sign-in, or to another one: a listener goes on waiting."""
        return self.reason in {"state_missing", "state_mismatch", "bare_code", "unreadable"}


REASONS: Mapping[str, str] = {
    "expired": f"The sign-in took too long. {_AGAIN}",
    "timed_out": "Nobody signed in within the time. If Google's page showed an error, it says there what to change; "
    "if the browser runs on another machine, use --paste.",
    "unreadable": "This is not the address of the page at which the sign-in ended. Copy the whole address bar.",
    "bare_code": "This is the code alone. Paste the whole address of the page, from http:// to the end: its `state` "
    "proves that the answer belongs to this sign-in.",
    "state_missing": "The address holds no `state`, so it cannot be told apart from a forged one. Copy the whole address bar.",
    "state_mismatch": f"The address belongs to another sign-in. {_AGAIN}",
    "code_missing": "The address holds no code. If it is the one you were given to open: open it, sign in, and paste "
    "the address of the page at which the browser ends, even if that page fails to load.",
}
"""What to do next, by Regrant's own reason."""

_GOOGLE_SAYS: Mapping[str, str] = {
    "access_denied": "The consent was refused. Sign in again and allow the access; while the OAuth app is in Testing, "
    "the account must be on its list of test users.",
    "admin_policy_enforced": "The administrator of this Workspace does not allow the app or one of its scopes. Ask for "
    "the OAuth client id to be allowed, or use another account.",
    "org_internal": "The OAuth app is Internal: only accounts of its own organization may use it. Sign in with one, or "
    "make the app External.",
    "disallowed_useragent": "Google does not allow signing in inside an embedded browser. Open the address in an "
    "ordinary one.",
    "deleted_client": "The OAuth client was deleted. Restore it within 30 days in the Google Cloud console, or make a "
    "new one (Desktop app) and put it into the settings.",
    "disabled_client": "Google has disabled the OAuth client. The Google Cloud console says why.",
    "invalid_client": "Google does not know the OAuth client. Compare the client id in the settings with the one in the "
    "Google Cloud console.",
    "redirect_uri_mismatch": "The OAuth client does not allow this return address. Use a client of type Desktop app.",
    "invalid_scope": "Google does not know one of the scopes. Compare google.scopes in the settings with the default.",
    "invalid_request": f"Google did not accept the request. {_AGAIN}",
    "access_not_configured": "The APIs are not enabled in the OAuth client's project. Enable them in the Google Cloud "
    "console, then sign in again.",
    "rate_limit_exceeded": "The OAuth app has reached its limit of new users. Verify the app, or use another client.",
    "server_error": "Google had a passing problem. Try again in a few minutes.",
    "temporarily_unavailable": "Google had a passing problem. Try again in a few minutes.",
}


def begin(
    *,
    client_id: str,
    redirect_uri: str,
    scopes: Sequence[str],
    login_hint: str = "",
    account_id: str = "",
    entropy: bytes,
    now: float,
    lifetime_s: float = LOGIN_LIFETIME_S,
) -> Login:
    """Begin a sign-in. `entropy` is ENTROPY_BYTES or more from the system's secure source, never used again.

    Raises ValueError if it is shorter.
    """
    if len(entropy) < ENTROPY_BYTES:
        raise ValueError(f"a sign-in needs {ENTROPY_BYTES} random bytes, not {len(entropy)}")
    return Login(
        client_id=client_id,
        redirect_uri=redirect_uri,
        scopes=tuple(scopes),
        login_hint=login_hint,
        account_id=account_id,
        state=_base64url(entropy[:32]),
        verifier=Secret(_base64url(entropy[32:64])),
        created_at=now,
        expires_at=now + lifetime_s,
    )


def read_callback(login: Login, url_or_query: str, now: float) -> Code | CallbackRefused:
    """Judge the address at which the browser ended: a URL, its query or its fragment, as received or as pasted.

    The state is compared before anything else in the address is believed, in constant time. The code is URL-decoded
    once: an authorization code holds a `/`, which arrives as `%2F`.
    """
    if now >= login.expires_at:
        return _refused("expired")
    fields = _read_fields(url_or_query)
    if isinstance(fields, CallbackRefused):
        return fields
    state = fields.get("state", "")
    if not state:
        return _refused("state_missing")
    if not hmac.compare_digest(state.encode(errors="replace"), login.state.encode()):
        return _refused("state_mismatch")
    if error := fields.get("error", ""):
        shown = one_line(error, google.MAX_CODE_CHARS)
        return CallbackRefused(
            shown, _GOOGLE_SAYS.get(error, f"Google refused the sign-in ({shown}). {_AGAIN}")
        )
    code = fields.get("code", "")
    return Code(Secret(code)) if code else _refused("code_missing")


def _refused(reason: str) -> CallbackRefused:
    return CallbackRefused(reason, REASONS[reason])


def _read_fields(text: str) -> dict[str, str] | CallbackRefused:
    """The query of an address, decoded once; a parameter that decides and is given twice makes it unreadable."""
    if len(text) > MAX_CALLBACK_CHARS:
        return _refused("unreadable")
    address = _unwrapped(text)
    if "=" not in address:
        looks_like_a_code = address and "?" not in address and "://" not in address
        return _refused("bare_code" if looks_like_a_code else "unreadable")
    pairs = [pair for pair in parse_qsl(_query(address), keep_blank_values=True) if pair[0] in _READ_ONCE]
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else _refused("unreadable")


def _unwrapped(text: str) -> str:
    """`text` without what no URL holds: line breaks and spaces of a terminal, quotes, a shell's backslashes."""
    return "".join(c for c in text if "!" <= c <= "~" and c not in _NEVER_IN_A_URL).strip("'")


def _query(address: str) -> str:
    before_fragment, _, fragment = address.partition("#")
    path, mark, query = before_fragment.partition("?")
    if mark and query:
        return query
    return fragment or ("" if "://" in path else path)


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
