"""Secrets never come through, whatever dress they wear; text that holds none is left alone."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrant.secret import MASK, Secret
from regrant.traffic.redact import clean

WORD = "word-of-ann-1"

# Put together here, so that no file holds what looks like a real one.
SHAPES = [
    "ya29" + ".a0_Word-1",
    "1/" + "/0gWord-1",
    "GOC" + "SPX-Word_1",
    "AI" + "za" + "x" * 35,
    "sk" + "-proj-" + "x" * 20,
    "gh" + "p_" + "x" * 36,
    "xo" + "xb-" + "1" * 12,
    "AK" + "IA" + "X" * 16,
    "ey" + "J" + "x" * 20 + "." + "y" * 20 + "." + "z" * 20,
    "-----BEGIN RSA PRIV" + "ATE KEY-----\nabc\n-----END RSA PRIV" + "ATE KEY-----",
]


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {WORD}",
        f"authorization: {WORD}",
        f"Proxy-Authorization: Basic {WORD}",
        f"x-api-key: {WORD}",
        f"X-Goog-Api-Key:{WORD}",
        f"api-key = {WORD}",
        f"curl -H 'Authorization: Bearer {WORD}' http://x",
        f"GET /v1beta/models/m:generateContent?key={WORD}&alt=sse",
        f"https://example.com/?a=b&access_token={WORD}#x",
        f"OPENAI_API_KEY={WORD}",
        f"export PASSWORD='{WORD} with blanks'",
        f"password: {WORD}",
        f"use the header bearer {WORD}",
        f"Cookie: session={WORD}",
    ],
)
def test_a_secret_in_text_is_masked(text: str) -> None:
    cleaned = clean(text)
    assert WORD not in cleaned
    assert MASK in cleaned


@pytest.mark.parametrize(
    "name",
    [
        *(
            "authorization",
            "api_key",
            "apiKey",
            "x-api-key",
            "x-goog-api-key",
            "access_token",
            "refreshToken",
        ),
        *(
            "client_secret",
            "clientSecret",
            "password",
            "private_key",
            "OPENAI_API_KEY",
            "cookie",
            "credentials",
        ),
    ],
)
def test_a_secret_in_json_is_masked_at_every_depth_and_it_stays_json(name: str) -> None:
    inner = json.dumps({name: f'{WORD} "quoted" \\ {WORD}', "kept": "kept-1"})
    document = {
        "tool": {"arguments": inner, name: WORD},
        "deeper": json.dumps({"text": inner}),
        "kept": "kept-2",
    }
    cleaned = clean(json.dumps(document))
    assert WORD not in cleaned
    read = json.loads(cleaned)
    assert read["tool"][name] == MASK
    assert read["kept"] == "kept-2"
    assert "kept-1" in read["tool"]["arguments"]


@pytest.mark.parametrize("token", SHAPES)
def test_what_looks_like_a_token_is_masked_wherever_it_stands(token: str) -> None:
    for text in (f"I found {token} in the file", f'{{"text": "{token}"}}', f"data: {token}\n\n"):
        cleaned = clean(text)
        assert token not in cleaned
        assert MASK in cleaned


def test_a_secret_that_is_known_is_masked_in_any_text() -> None:
    assert clean("it is tell-nobody, they say", [Secret("tell-nobody")]) == f"it is {MASK}, they say"


def test_a_secret_at_the_end_of_what_was_cut_is_masked() -> None:
    for text in (f'{{"api_key": "{WORD}', f'{{"a": "{{\\"api_key\\": \\"{WORD}', f'{{"api_key": "{WORD}\\'):
        assert WORD not in clean(text)


@pytest.mark.parametrize(
    "text",
    [
        "What is a good password policy?",
        '{"max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}',
        '{"properties": {"token": {"type": "string"}}}',
        "the keyboard has a key for everything",
        "a basic understanding of bears",
        '{"usage": {"total_tokens": 12}}',
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert clean(text) == text


@given(st.text())
def test_any_text_is_bearable_and_json_stays_json(text: str) -> None:
    clean(text)
    json.loads(clean(json.dumps({"api_key": text, "text": text})))


def test_a_long_text_of_any_kind_takes_no_long_time() -> None:
    hostile = [
        "x" * 262_144,
        "key=" * 65_536,
        '\\"' * 131_072,
        "token: " * 37_449,
        'token\\\\": \\\\"' * 20_000,
    ]
    began = time.process_time()
    for text in hostile:
        clean(text)
    assert time.process_time() - began < 60, "it would hold up the whole process"
