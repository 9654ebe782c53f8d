"""What becomes of a relayed body when Google refuses a signature in it."""

import json

import pytest

from regrant.dialects import gemini

STAND_IN = "skip_thought_signature_validator"


def replaced(body: object) -> object:
    return json.loads(gemini.replace_signatures(json.dumps(body).encode()))


def call(name: str, **fields: object) -> dict[str, object]:
    return {"functionCall": {"name": name, "args": {"thoughtSignature": "the user's own"}}, **fields}


def test_every_signature_becomes_the_stand_in_in_either_spelling() -> None:
    parts = [
        {"text": "a", "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "f"}, "thought_signature": "c2ln"},
    ]
    body = {"contents": [{"role": "model", "parts": parts}], "somethingNew": {"x": 1.50}}
    assert replaced(body) == {
        "contents": [
            {
                "role": "model",
                "parts": [
                    {"text": "a", "thoughtSignature": STAND_IN},
                    {"functionCall": {"name": "f"}, "thought_signature": STAND_IN},
                ],
            }
        ],
        "somethingNew": {"x": 1.5},
    }


def test_the_first_call_of_a_content_is_signed_even_if_the_client_dropped_its_signature() -> None:
    body = {"contents": [{"role": "model", "parts": [{"text": "t"}, call("f"), call("g")]}]}
    expected = [{"text": "t"}, call("f", thoughtSignature=STAND_IN), call("g")]
    assert replaced(body) == {"contents": [{"role": "model", "parts": expected}]}


def test_what_needs_no_change_keeps_its_value() -> None:
    body = {"contents": [{"parts": [{"text": 'say "thoughtSignature": "x"'}]}, {"role": "user"}], "n": 1e3}
    assert replaced(body) == body


def test_a_body_without_signatures_is_left_as_it_is_so_that_nobody_repeats_it() -> None:
    body = json.dumps({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}, indent=2).encode()
    assert gemini.replace_signatures(body) == body


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"contents":{}}', b'{"contents":[1]}', b'{"contents":[{"parts":3}]}']
)
def test_a_body_that_cannot_be_read_is_left_as_it_is(body: bytes) -> None:
    assert gemini.replace_signatures(body) == body
