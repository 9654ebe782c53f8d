"""Credential files of other tools: which are taken, and what is said of the rest."""

from __future__ import annotations

import json
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import pytest

from regrant.oauth.google import OAuthClient
from regrant.oauth.imports import AdcCredential, FileRefused, default_adc_path, parse_adc, parse_client_secret
from regrant.secret import Secret

ADC = {
    "account": "",
    "client_id": "123-own.apps.example",
    "client_secret": "client-secret-1",
    "quota_project_id": "ann-project",
    "refresh_token": "refresh-ann-1",
    "type": "authorized_user",
    "universe_domain": "googleapis.com",
}
INSTALLED = {
    "client_id": "123-own.apps.example",
    "project_id": "ann-project",
    "client_secret": "client-secret-1",
    "redirect_uris": ["http://localhost"],
}


def refusal(text: str | bytes) -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        parse_adc(text)
    return caught.value


def refusal_of_client(text: str | bytes) -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        parse_client_secret(text)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ADC),
        json.dumps(ADC).encode(),
        "\ufeff" + json.dumps(ADC, indent=2).replace("\n", "\r\n") + "\r\n",
        b"\xef\xbb\xbf" + json.dumps(ADC).encode(),
        json.dumps(ADC).encode("utf-16"),
        b"\xfe\xff" + json.dumps(ADC).encode("utf-16-be"),
    ],
    ids=["text", "bytes", "BOM and CRLF", "UTF-8 BOM", "UTF-16 of PowerShell", "UTF-16 big-endian"],
)
def test_credentials_of_the_users_own_client_are_read(text: str | bytes) -> None:
    credential = parse_adc(text)
    assert credential == AdcCredential(
        client_id="123-own.apps.example",
        client_secret=Secret("client-secret-1"),
        refresh_token=Secret("refresh-ann-1"),
        quota_project_id="ann-project",
        type="authorized_user",
    )
    assert credential.client == OAuthClient("123-own.apps.example", Secret("client-secret-1"))
    assert "refresh-ann-1" not in repr(credential)


def test_the_quota_project_may_be_missing() -> None:
    assert parse_adc(json.dumps({**ADC, "quota_project_id": None})).quota_project_id == ""


@pytest.mark.parametrize("client_id", ["764086051850-abc.apps.example", "32555940559.apps.example"])
def test_credentials_of_googles_own_tools_are_refused_with_the_command_that_makes_ones_own(
    client_id: str,
) -> None:
    refused = refusal(json.dumps({**ADC, "client_id": client_id}))
    assert refused.reason == "googles_own_client"
    assert (
        "gcloud auth application-default login --client-id-file=client_secret.json --scopes="
        in refused.advice
    )
    wrong = refusal_of_client(json.dumps({"installed": {**INSTALLED, "client_id": client_id}}))
    assert wrong.reason == "googles_own_client"


@pytest.mark.parametrize(
    "kind",
    ["service_account", "external_account", "impersonated_service_account", "new_kind", None, 7, ["x"]],
)
def test_other_kinds_of_credential_are_refused_with_advice(kind: object) -> None:
    refused = refusal(json.dumps({**ADC, "type": kind, "private_key": "key-1"}))
    assert refused.reason == "wrong_type"
    assert "client-id-file" in str(refused)
    assert "key-1" not in str(refused)


def test_an_oauth_client_is_not_taken_for_a_credential_nor_the_reverse() -> None:
    assert refusal(json.dumps({"installed": INSTALLED})).reason == "not_adc"
    other = refusal_of_client(json.dumps(ADC))
    assert other.reason == "not_a_client"
    assert "authorized_user" in other.advice


@pytest.mark.parametrize("field", ["client_id", "refresh_token"])
@pytest.mark.parametrize("value", ["", None, 7, "two words", "a\r\nb"])
def test_a_credential_with_a_hole_is_refused(field: str, value: object) -> None:
    assert refusal(json.dumps({**ADC, field: value})).reason == "incomplete"


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{", "not json", '{"type":"authorized_user","type":"x"}', b"\xff"]
)
def test_what_is_no_json_object_is_refused_without_being_quoted(text: str | bytes) -> None:
    assert refusal(text).reason == "not_json"
    assert refusal_of_client(text).reason == "not_json"


def test_a_desktop_client_is_read() -> None:
    client = parse_client_secret(json.dumps({"installed": INSTALLED}))
    assert client == OAuthClient("123-own.apps.example", Secret("client-secret-1"), "ann-project")


def test_a_web_client_is_refused_because_it_cannot_return_to_any_free_port() -> None:
    refused = refusal_of_client(json.dumps({"web": INSTALLED}))
    assert refused.reason == "web_client"
    assert "Desktop app" in refused.advice


@pytest.mark.parametrize("content", [{}, {"installed": []}, {"installed": None}, {"type": "service_account"}])
def test_a_file_without_a_client_is_refused(content: dict[str, Any]) -> None:
    assert refusal_of_client(json.dumps(content)).reason == "not_a_client"


@pytest.mark.parametrize("field", ["client_id", "client_secret"])
def test_a_client_with_a_hole_is_refused(field: str) -> None:
    assert refusal_of_client(json.dumps({"installed": {**INSTALLED, field: ""}})).reason == "incomplete"


def test_the_default_path_follows_the_variables_of_google_auth() -> None:
    home = {"HOME": "/home/ann"}
    named = PurePosixPath("/tmp/adc.json")
    assert default_adc_path({**home, "GOOGLE_APPLICATION_CREDENTIALS": str(named)}, "linux") == named
    assert default_adc_path({**home, "CLOUDSDK_CONFIG": "/c"}, "linux") == PurePosixPath(
        "/c/application_default_credentials.json"
    )
    assert default_adc_path(home, "darwin") == PurePosixPath(
        "/home/ann/.config/gcloud/application_default_credentials.json"
    )
    assert default_adc_path({"APPDATA": "C:\\Users\\Ann\\AppData\\Roaming"}, "win32") == PureWindowsPath(
        "C:/Users/Ann/AppData/Roaming/gcloud/application_default_credentials.json"
    )
    assert default_adc_path({}, "linux") is None
    assert default_adc_path({}, "win32") is None
