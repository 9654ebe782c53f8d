"""What a caller passes as a header field is one field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrant.listener.head import STATUS_LINES, encode_fields


@pytest.mark.parametrize(
    "value", [b"a\r\nx-injected: yes", b"a\nb", b"a\rb", b"a\0b", b"\r\n\r\nHTTP/1.1 200 OK"]
)
def test_a_value_with_a_line_break_or_nul_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="line break"):
        encode_fields([(b"x-model", value)])


@pytest.mark.parametrize("name", [b"", b"a b", b"a:b", b"a\r\nb", b"a\0", "é".encode()])
def test_a_name_that_is_no_token_is_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="name"):
        encode_fields([(name, b"value")])


def test_names_are_written_small_and_values_as_they_are() -> None:
    assert encode_fields([(b"X-Model", b"Gemini"), (b"vary", b"")]) == b"x-model: Gemini\r\nvary: \r\n"


@given(st.binary(), st.binary())
def test_whatever_is_passed_is_one_line_or_refused(name: bytes, value: bytes) -> None:
    try:
        lines = encode_fields([(name, value)])
    except ValueError:
        return
    assert lines.count(b"\n") == lines.count(b"\r") == 1
    assert lines.endswith(b"\r\n")


def test_statuses_that_nobody_named_have_a_line_too() -> None:
    assert STATUS_LINES[529] == b"HTTP/1.1 529 \r\n"
    assert STATUS_LINES[404] == b"HTTP/1.1 404 Not Found\r\n"
