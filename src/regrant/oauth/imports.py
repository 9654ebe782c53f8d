"""Credential files that users bring along: Application Default Credentials and an OAuth client's JSON.

Only credentials minted with an OAuth client of the user's own are taken; those of Google's tools belong to Google's
tools, and using them gets accounts suspended. Only Desktop clients are taken: a Web client returns to fixed addresses
alone, so that signing in on any free port of this machine cannot work. Reading the files is the caller's part.
Source: google-auth 2.62 `_default.py`, `_cloud_sdk.py`; developers.google.com/identity/protocols/oauth2/native-app.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any, NoReturn

import msgspec

from regrant.errors import RegrantError
from regrant.oauth.google import OAuthClient
from regrant.oauth.wire import decode_object, usable_token
from regrant.secret import Secret

ADC_FILE = "application_default_credentials.json"

# The clients of gcloud: `auth application-default login` and `auth login`.
_GOOGLES_OWN_CLIENTS = ("764086051850-", "32555940559.")

_MAKE_A_CLIENT = (
    "In the Google Cloud console, under APIs & Services > Credentials, create an OAuth client ID of type Desktop app and "
    "download its JSON."
)
_MINT_ONE = (
    "Make one with an OAuth client of your own: gcloud auth application-default login "
    "--client-id-file=client_secret.json --scopes=openid,https://www.googleapis.com/auth/userinfo.email,"
    "https://www.googleapis.com/auth/cloud-platform,https://www.googleapis.com/auth/generative-language.retriever"
)
_ADVICE_BY_TYPE: Mapping[str, str] = {
    "service_account": "A service account's key is not a person's sign-in.",
    "external_account": "Workload identity federation is not a person's sign-in.",
    "external_account_authorized_user": "Workforce identity federation has no Google account behind it.",
    "impersonated_service_account": "An impersonated service account is not a person's sign-in.",
    "gdch_service_account": "A service account's key is not a person's sign-in.",
}


class FileRefused(RegrantError):
    """A credential file cannot be used. `reason` is a code, `str()` says what is wrong and what to do next."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(advice)
        self.reason = reason
        self.advice = advice


class AdcCredential(msgspec.Struct, frozen=True):
    """A user's Application Default Credentials; `type` is `authorized_user`."""

    client_id: str
    client_secret: Secret
    refresh_token: Secret
    quota_project_id: str
    type: str

    @property
    def client(self) -> OAuthClient:
        """The OAuth client that minted the refresh token."""
        return OAuthClient(self.client_id, self.client_secret)


def parse_adc(text: str | bytes) -> AdcCredential:
    """Read Application Default Credentials. Raises FileRefused."""
    content = _decode(text)
    kind = content.get("type")
    if kind != "authorized_user":
        if "installed" in content or "web" in content:
            _refuse("not_adc", f"This is the OAuth client itself, not a credential made with it. {_MINT_ONE}")
        why = _ADVICE_BY_TYPE.get(kind, "") if isinstance(kind, str) else ""
        _refuse("wrong_type", f"{why or 'This is not an authorized_user credential.'} {_MINT_ONE}")
    client_id = _text(content, "client_id")
    _refuse_googles_own(
        client_id, f"This credential was made with the client of Google's own tools. {_MINT_ONE}"
    )
    refresh_token = usable_token(content.get("refresh_token"))
    if not client_id or refresh_token is None:
        _refuse("incomplete", f"The credential holds no usable client_id and refresh_token. {_MINT_ONE}")
    return AdcCredential(
        client_id=client_id,
        client_secret=Secret(_text(content, "client_secret")),
        refresh_token=refresh_token,
        quota_project_id=_text(content, "quota_project_id"),
        type="authorized_user",
    )


def parse_client_secret(text: str | bytes) -> OAuthClient:
    """Read the JSON of an OAuth client as Google's console gives it out; `name` is its project. Raises FileRefused."""
    content = _decode(text)
    if "web" in content and "installed" not in content:
        _refuse(
            "web_client",
            f"This OAuth client is of type Web application; Regrant needs a Desktop one. {_MAKE_A_CLIENT}",
        )
    installed = content.get("installed")
    if not isinstance(installed, dict):
        found = content.get("type")
        what = (
            f"a {found} file"
            if found in {*_ADVICE_BY_TYPE, "authorized_user"}
            else "not an OAuth client's JSON"
        )
        _refuse("not_a_client", f"This is {what}. {_MAKE_A_CLIENT}")
    client_id, secret = _text(installed, "client_id"), _text(installed, "client_secret")
    _refuse_googles_own(client_id, f"This is the client of Google's own tools. {_MAKE_A_CLIENT}")
    if not client_id or not secret:
        _refuse("incomplete", f"The file holds no client_id and client_secret. {_MAKE_A_CLIENT}")
    return OAuthClient(client_id, Secret(secret), _text(installed, "project_id"))


def default_adc_path(environ: Mapping[str, str], platform: str) -> PurePath | None:
    """Where Application Default Credentials lie; `platform` is `sys.platform`. None if the environment does not tell."""
    if named := environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        return _path(platform, named)
    if folder := environ.get("CLOUDSDK_CONFIG"):
        return _path(platform, folder, ADC_FILE)
    if platform == "win32":
        roaming = environ.get("APPDATA")
        return _path(platform, roaming, "gcloud", ADC_FILE) if roaming else None
    home = environ.get("HOME")
    return _path(platform, home, ".config", "gcloud", ADC_FILE) if home else None


def _path(platform: str, *parts: str) -> PurePath:
    return PureWindowsPath(*parts) if platform == "win32" else PurePosixPath(*parts)


def _decode(text: str | bytes) -> dict[str, Any]:
    content = decode_object(_utf8(text))
    if content is None:
        _refuse("not_json", "The file is not a JSON object. Download it again and pass it on unchanged.")
    return content


def _utf8(text: str | bytes) -> bytes:
    """`text` in UTF-8 without a byte order mark; PowerShell's `>` writes UTF-16."""
    if isinstance(text, str):
        return text.removeprefix("\ufeff").encode(errors="replace")
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        return text.decode("utf-16", errors="replace").encode()
    return text.removeprefix(b"\xef\xbb\xbf")


def _text(content: Mapping[str, Any], key: str) -> str:
    """A value of printable ASCII without spaces, as all these are; "" for anything else."""
    token = usable_token(content.get(key))
    return token.reveal() if token else ""


def _refuse_googles_own(client_id: str, advice: str) -> None:
    if client_id.startswith(_GOOGLES_OWN_CLIENTS):
        _refuse("googles_own_client", advice)


def _refuse(reason: str, advice: str) -> NoReturn:
    raise FileRefused(reason, advice)
