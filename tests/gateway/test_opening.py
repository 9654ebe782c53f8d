"""The little that is read of a relayed request, and what an alias changes in it."""

from __future__ import annotations

import json

import pytest

from regrant.errors import DialectError
from regrant.gateway.opening import read_opening, rename_models


def test_the_opening_is_the_system_prompt_and_the_first_turn() -> None:
    body = {
        "systemInstruction": {"parts": [{"text": "Be kind."}]},
        "contents": [
            {"parts": [{"text": "one"}, {"inlineData": {}}, {"text": "two"}]},
            {"parts": [{"text": "later"}]},
        ],
        "cachedContent": "cachedContents/1",
    }
    opening = read_opening(json.dumps(body).encode())
    assert opening.texts == ("Be kind.", "one", "two")
    assert opening.cached_content == "cachedContents/1"


@pytest.mark.parametrize(
    "body",
    [
        {"system_instruction": {"parts": {"text": "Be kind."}}, "contents": {"parts": [{"text": "one"}]}},
        {"system_instruction": {"parts": [{"text": "Be kind."}]}, "contents": [{"parts": {"text": "one"}}]},
    ],
)
def test_snake_case_and_single_objects_are_read_alike(body: object) -> None:
    assert read_opening(json.dumps(body).encode()).texts == ("Be kind.", "one")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"contents": None},
        {"contents": 3},
        {"contents": []},
        {"contents": ["x"]},
        {"contents": [{"parts": 1}]},
    ],
)
def test_odd_contents_have_no_opening_and_are_google_s_to_judge(body: object) -> None:
    assert read_opening(json.dumps(body).encode()).texts == ()


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"a":' * 100_000])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(DialectError):
        read_opening(body)


def test_a_body_that_names_no_model_is_not_touched() -> None:
    body = b'{ "contents" : [ {"parts":[{"text":"the model"}]} ] }'
    assert rename_models(body, "new") is body
    quoting = b'{ "contents" : [ {"parts":[{"text":"say \\"model\\""}]} ] , "x":{"model":"old"}}'
    assert rename_models(quoting, "new") == quoting


def test_only_the_names_of_models_change() -> None:
    body = b'{"requests":[{"model":"models/old","content":{"n":1.50}}],"z":1e3}'
    renamed = rename_models(body, "new")
    assert json.loads(renamed)["requests"][0]["model"] == "models/new"
    assert b"1.50" in renamed
    assert b"1e3" in renamed


@pytest.mark.parametrize(
    "body",
    [b'{"model":"a","requests":3}', b'{"model":"a","requests":[3]}', b'{"generateContentRequest":["model"]}'],
)
def test_wrong_types_around_a_model_are_the_client_s_mistake(body: bytes) -> None:
    with pytest.raises(DialectError):
        rename_models(body, "new")
