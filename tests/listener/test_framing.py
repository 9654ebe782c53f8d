"""Where one request ends and the next begins: what could be read in two ways is refused, and nothing after it is answered."""

from __future__ import annotations

import pytest
from tests.listener.rig import HOST, get, post, post_chunked, serving, statuses

from regrant.listener.conversation import Conversation

POST = b"POST /echo HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"

AMBIGUOUS = {
    "length, then chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks, then length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "the same length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\nab",
    "a signed length": POST + b"Content-Length: +2\r\n\r\nab",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a hexadecimal length": POST + b"Content-Length: 0x2\r\n\r\nab",
    "an empty length": POST + b"Content-Length: \r\n\r\n",
    "a length of two words": POST + b"Content-Length: 2 2\r\n\r\nab",
    "a length that overflows": POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a quoted coding": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "a coding after chunked": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "a coding before chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a vertical tab before chunked": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST /echo HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a blank before the colon": POST + b"Content-Length : 2\r\n\r\nab",
    "a chunk size with a prefix": CHUNKED + b"0x2\r\nab\r\n0\r\n\r\n",
    "a signed chunk size": CHUNKED + b"+2\r\nab\r\n0\r\n\r\n",
    "a chunk size with a blank": CHUNKED + b"2 \r\nab\r\n0\r\n\r\n",
    "a chunk size that overflows": CHUNKED + b"fffffffffffffffff\r\nab",
    "a chunk longer than its size": CHUNKED + b"2\r\nabc\r\n0\r\n\r\n",
    "a chunk size ended by a bare LF": CHUNKED + b"2\nab\r\n0\r\n\r\n",
    "a chunk ended by a bare LF": CHUNKED + b"2\r\nab\n0\r\n\r\n",
    "an empty chunk size": CHUNKED + b"\r\nab\r\n0\r\n\r\n",
    "a length among the trailers": CHUNKED + b"2\r\nab\r\n0\r\nContent-Length: 9\r\n\r\n",
    "unix line ends": b"GET /echo HTTP/1.1\nHost: localhost\n\n",
    "one bare LF": b"GET /echo HTTP/1.1\r\nHost: localhost\n\r\n",
    "a head ended by a bare LF": b"GET /echo HTTP/1.1\r\nHost: localhost\r\n\n",
    "a bare CR in a value": get("/echo", "A: b\rc"),
    "a NUL in a value": get("/echo", "A: b\0c"),
    "a control character in a value": get("/echo", "A: b\x01c"),
    "a folded field": get("/echo", "A: b\r\n c"),
    "a field that begins with a blank": b"GET /echo HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "a field without a name": get("/echo", ": b"),
    "a field without a colon": get("/echo", "nonsense"),
    "no Host": b"GET /echo HTTP/1.1\r\n\r\n",
    "two Hosts": get("/echo", "Host: elsewhere"),
    "two Hosts in HTTP/1.0": get("/echo", "Host: elsewhere", version="1.0"),
    "a method in small letters": get(method="get"),
    "an unknown method": get(method="FROB"),
    "a method with a control character": get(method="G\x01T"),
    "a target with a blank": get("/a b"),
    "a target with a control character": get("/a\x01"),
    "a relative target": get("echo"),
    "a target of another scheme": get("mailto:ann"),
    "an absolute target without a host": get("http:///echo"),
    "an authority as target": get("localhost:443"),
    "CONNECT": b"CONNECT localhost:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /echo\r\n\r\n",
    "HTTP/0.9 by name": get(version="0.9"),
    "HTTP/1.2": get(version="1.2"),
    "HTTP/2.0": get(version="2.0"),
    "HTTP/11": get(version="11"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}
STATUS = {
    "an unknown coding": 501,
    "identity": 501,
    "a quoted coding": 501,
    "a coding before chunked": 501,
    "HTTP/0.9": 505,
    "HTTP/0.9 by name": 505,
    "HTTP/2.0": 505,
}


@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_an_ambiguous_request_is_refused_and_what_follows_is_not_answered(name: str) -> None:
    async with serving() as rig:
        data = await rig.exchange(AMBIGUOUS[name] + SMUGGLED)
        assert statuses(data) == [STATUS.get(name, 400)]
        assert b"connection: close" in data
        assert "/smuggled" not in rig.answerer.begun


@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_a_proper_request_before_an_ambiguous_one_gets_its_own_answer(name: str) -> None:
    async with serving() as rig:
        data = await rig.exchange(get("/echo/first") + AMBIGUOUS[name] + SMUGGLED)
        assert statuses(data) == [200, STATUS.get(name, 400)]
        assert data.index(b"/echo/first") < data.index(b'{"error"')


@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_it_is_the_same_byte_by_byte(name: str) -> None:
    async with serving() as rig, rig.client() as client:
        for byte in AMBIGUOUS[name]:
            await client.send(bytes((byte,)))
        assert statuses(await client.rest()) == [STATUS.get(name, 400)]


PROPER = {
    "a body with a length": (post(b"hello"), ["POST", "/echo", "", "hello"]),
    "a length with blanks around it": (
        POST + b"Content-Length: \t 5 \r\n\r\nhello",
        ["POST", "/echo", "", "hello"],
    ),
    "chunks": (post_chunked(b"hel", b"lo"), ["POST", "/echo", "", "hello"]),
    "chunks with extensions": (
        CHUNKED + b'3;a=b\r\nhel\r\n2;c="d;e"\r\nlo\r\n0;f\r\n\r\n',
        ["POST", "/echo", "", "hello"],
    ),
    "chunked in capitals": (
        POST + b"Transfer-Encoding: CHUNKED\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        ["POST", "/echo", "", "hi"],
    ),
    "no body": (get("/echo", method="POST"), ["POST", "/echo", "", ""]),
    "an empty body": (post(b""), ["POST", "/echo", "", ""]),
    "a body with GET": (get("/echo", "Content-Length: 2") + b"hi", ["GET", "/echo", "", "hi"]),
    "blank lines first": (b"\r\n\r\n" + get(), ["GET", "/echo", "", ""]),
    "a query": (get("/echo/a%20b?c=%20d"), ["GET", "/echo/a b", "c=%20d", ""]),
    "a fragment": (get("/echo#a?b"), ["GET", "/echo", "", ""]),
    "an absolute target": (get("http://elsewhere:80/echo/a?b"), ["GET", "/echo/a", "b", ""]),
    "an absolute target without a path": (get("http://elsewhere"), ["GET", "/", "", ""]),
    "an absolute target in IPv6": (get("http://[::1]:8045/echo"), ["GET", "/echo", "", ""]),
    "an asterisk": (get("*", method="OPTIONS"), ["OPTIONS", "*", "", ""]),
    "two slashes": (get("//echo"), ["GET", "//echo", "", ""]),
    "bytes over 127 in a value": (
        b"GET /echo HTTP/1.1\r\n" + HOST + b"A: \xc3\xa9\r\n\r\n",
        ["GET", "/echo", "", ""],
    ),
    "a path that is no UTF-8": (get("/echo/%ff"), ["GET", "/echo/�", "", ""]),
}


@pytest.mark.parametrize("name", PROPER)
async def test_a_proper_request_is_understood_and_the_next_one_too(name: str) -> None:
    sent, told = PROPER[name]
    async with serving() as rig, rig.client() as client:
        await client.send(sent + get("/echo/next"))
        assert (await client.answer()).echo == told
        assert (await client.answer()).echo == ["GET", "/echo/next", "", ""]


async def test_trailers_do_not_become_headers() -> None:
    names: list[list[bytes]] = []

    async def look(conversation: Conversation) -> None:
        while await conversation.read():
            pass
        names.append([name for name, _ in conversation.headers])
        conversation.reply(200, b"", b"ok")

    async with serving(look) as rig, rig.client() as client:
        trailed = CHUNKED + b"2\r\nhi\r\n0\r\nHost: elsewhere\r\nCookie: a=b\r\n\r\n"
        await client.send(trailed + get("/next"))
        assert [(await client.answer()).status for _ in range(2)] == [200, 200]
        assert names == [[b"host", b"transfer-encoding"], [b"host"]]


UPGRADES = {
    "with a length": (post(b"hello", "/echo", "Connection: Upgrade", "Upgrade: h2c"), "hello"),
    "with chunks": (
        get("/echo", "Connection: Upgrade", "Upgrade: h2c", "Transfer-Encoding: chunked", method="POST")
        + b"5\r\nhello\r\n0\r\n\r\n",
        "hello",
    ),
    "without a body": (get("/echo", "Connection: Upgrade", "Upgrade: websocket", method="POST"), ""),
}


@pytest.mark.parametrize("name", UPGRADES)
async def test_a_wish_for_another_protocol_is_disregarded_and_its_body_is_read(name: str) -> None:
    sent, body = UPGRADES[name]
    async with serving() as rig, rig.client() as client:
        for _ in range(3):
            await client.send(sent + sent + get("/echo/next"))
            for _ in range(2):
                assert (await client.answer()).echo == ["POST", "/echo", "", body]
            assert (await client.answer()).echo[1] == "/echo/next"


async def test_the_body_of_an_upgrade_may_come_later_and_in_pieces() -> None:
    async with serving() as rig, rig.client() as client:
        await client.send(
            get("/echo", "Connection: Upgrade", "Upgrade: h2c", "Content-Length: 5", method="POST")
        )
        await client.send(b"he")
        assert not client.reader.at_eof()
        await client.send(b"llo" + get("/echo/next"))
        assert (await client.answer()).echo == ["POST", "/echo", "", "hello"]
        assert (await client.answer()).echo[1] == "/echo/next"


async def test_a_malformed_body_of_an_upgrade_is_refused() -> None:
    async with serving() as rig:
        head = get(
            "/echo", "Connection: Upgrade", "Upgrade: h2c", "Transfer-Encoding: chunked", method="POST"
        )
        assert statuses(await rig.exchange(head + b"zz\r\n")) == [400]


async def test_connect_with_a_path_is_answered_and_nothing_after_it_is_read() -> None:
    async with serving() as rig:
        data = await rig.exchange(b"CONNECT /echo HTTP/1.1\r\n" + HOST + b"\r\n" + SMUGGLED)
        assert statuses(data) == [200]
        assert rig.answerer.begun == ["/echo"]


async def test_bytes_after_connection_close_are_no_request() -> None:
    async with serving() as rig:
        data = await rig.exchange(post(b"hi", "/echo", "Connection: close") + b"\r\n" + SMUGGLED)
        assert statuses(data) == [200]
        assert rig.answerer.begun == ["/echo"]


async def test_a_malformed_end_of_a_body_that_was_answered_early_gets_no_second_answer() -> None:
    async with serving() as rig, rig.client() as client:
        await client.send(get("/early", "Transfer-Encoding: chunked", method="POST"))
        assert (await client.answer()).status == 401
        await client.send(b"zz\r\n" + SMUGGLED)
        assert await client.rest() == b""


async def test_a_body_that_breaks_while_its_answer_streams_cuts_the_answer() -> None:
    async with serving() as rig, rig.client() as client:
        await client.send(get("/stream", "Transfer-Encoding: chunked", method="POST"))
        await client.until(b"one,\r\n")
        await client.send(b"zz\r\n")
        assert await client.rest() == b""
    assert rig.answerer.ended == ["/stream cancelled"]
