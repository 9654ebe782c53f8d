"""What of a caller's fields goes out, and what the client sets itself."""

from __future__ import annotations

import pytest

from regrant.errors import UnsendableRequest
from regrant.transport.head import check_agent, encode_head, end_head
from regrant.transport.model import Request


def encode(request: Request) -> bytes:
    head = encode_head(request, "/x", fixed=b"host: h\r\n", agent_line=b"user-agent: ours\r\n")
    return end_head(head, request)


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "Content-Length",
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authorization",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Expect",
    ],
)
def test_field_of_the_connection_or_the_framing_is_left_out(name: str) -> None:
    request = Request("GET", "http://h/x", headers=[(name.encode(), b"evil"), (b"X-Kept", b"1")])
    assert encode(request) == b"GET /x HTTP/1.1\r\nhost: h\r\nx-kept: 1\r\nuser-agent: ours\r\n\r\n"


def test_user_agent_of_the_caller_replaces_ours() -> None:
    request = Request("GET", "http://h/x", headers=[(b"User-Agent", b"theirs")])
    assert encode(request) == b"GET /x HTTP/1.1\r\nhost: h\r\nuser-agent: theirs\r\n\r\n"


def test_post_without_body_says_that_its_length_is_zero() -> None:
    assert encode(Request("POST", "http://h/x")).endswith(b"\r\ncontent-length: 0\r\n\r\n")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_body_of_a_method_that_usually_has_none_is_framed(method: str) -> None:
    assert encode(Request(method, "http://h/x", body=b"ab")).endswith(b"\r\ncontent-length: 2\r\n\r\n")


def test_repeated_fields_are_kept_in_order() -> None:
    request = Request("GET", "http://h/x", headers=[(b"b", b"1"), (b"a", b"2"), (b"b", b"3")])
    assert b"b: 1\r\na: 2\r\nb: 3\r\n" in encode(request)


@pytest.mark.parametrize("agent", ["", "a\r\nx: 1", "é"])
def test_user_agent_that_cannot_be_sent_is_refused(agent: str) -> None:
    with pytest.raises(UnsendableRequest):
        check_agent(agent)
