"""Fetching what a request names by its address: what comes back, and what is refused."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable

import pytest

from regrant.errors import DialectError
from regrant.gateway.pictures import Bounds, Pictures
from regrant.messages.model import Media, Request, Text, ToolResult, Turn
from regrant.transport.addresses import is_public
from regrant.transport.client import HttpClient

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
WHERE = "messages[0].content[1].image_url.url"


class Site:
    """A web server on loopback whose pages are whole answers: status line, fields, body."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.url = ""

    def page(self, path: str, status: str = "200 OK", body: bytes = PNG, **fields: str) -> str:
        fields = {"content_type": "image/png", **fields}
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{lines}\r\n"
        self.pages[path] = head.encode() + body
        return self.url + path

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ")[1].decode()
        self.asked.append(path)
        self.heads.append(head)
        page = self.pages.get(path)
        if page is None:
            await reader.read()  # silence until the caller leaves
        else:
            writer.write(page)
            await writer.drain()
        writer.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    server = await asyncio.start_server(site.answer, "127.0.0.1", 0)
    site.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield site


def pictures(
    admits: Callable[[str], bool] = lambda address: address == "127.0.0.1",
    *,
    wanted: bool = True,
    bounds: Bounds | None = None,
) -> Pictures:
    """As in the gateway, but the site on loopback counts as the public internet."""
    return Pictures(
        lambda: HttpClient(user_agent="regrant/test", admits=admits), wanted=lambda: wanted, bounds=bounds
    )


def asking(*urls: str, mime: str = "") -> Request:
    media = tuple(Media(mime=mime, uri=url, where=WHERE) for url in urls)
    return Request(model="m", turns=(Turn(role="user", parts=(Text(text="look"), *media)),))


async def refusal(request: Request, by: Pictures | None = None) -> DialectError:
    with pytest.raises(DialectError) as caught:
        await (by or pictures()).embed(request)
    return caught.value


async def test_a_picture_is_fetched_and_stands_in_the_request(site: Site) -> None:
    url = site.page("/a.jpg?size=1", content_type="image/jpeg; charset=binary")
    request = await pictures().embed(asking(url))
    expected = Media(mime="image/png", data=base64.b64encode(PNG).decode())
    assert request.turns[0].parts == (Text(text="look"), expected)


async def test_nothing_that_identifies_anybody_goes_along(site: Site) -> None:
    await pictures().embed(asking(site.page("/a.png")))
    fields = {line.split(b":")[0].lower() for line in site.heads[0].split(b"\r\n")[1:] if line}
    assert fields == {b"host", b"user-agent", b"accept", b"accept-encoding"}


async def test_the_same_address_is_fetched_once_and_results_of_tools_count_too(site: Site) -> None:
    url = site.page("/a.png")
    named = Media(mime="image/png", uri=url)
    result = ToolResult(call_id="c", content=(Text(text="t"), named))
    request = Request(model="m", turns=(Turn(role="user", parts=(result, named)),))
    inside, beside = (await pictures().embed(request)).turns[0].parts
    assert isinstance(inside, ToolResult)
    assert inside.content[1] == beside
    assert isinstance(beside, Media)
    assert beside.data
    assert site.asked == ["/a.png"]


async def test_a_paper_is_fetched_where_a_paper_is_meant(site: Site) -> None:
    url = site.page("/a", body=b"%PDF", content_type="application/pdf")
    request = await pictures().embed(asking(url, mime="application/pdf"))
    assert request.turns[0].parts[1] == Media(mime="application/pdf", data="JVBERg==")
    assert "not a picture" in str(await refusal(asking(url)))


async def test_three_redirects_are_followed_and_a_fourth_is_not(site: Site) -> None:
    site.page("/end")
    for number in range(1, 5):
        target = f"/{number - 1}" if number > 1 else f"{site.url}/end"
        site.page(f"/{number}", "302 Found", b"", location=target)
    request = await pictures().embed(asking(f"{site.url}/3"))
    assert isinstance(request.turns[0].parts[1], Media)
    assert site.asked == ["/3", "/2", "/1", "/end"]
    assert "redirected more than 3 times" in str(await refusal(asking(f"{site.url}/4")))


@pytest.mark.parametrize("target", ["http://127.0.0.2:9/x", "http://[::1]:9/x", "//10.0.0.1/"])
async def test_a_redirect_to_an_address_that_is_not_public_is_refused(site: Site, target: str) -> None:
    url = site.page("/a", "307 Temporary Redirect", b"", location=target)
    error = await refusal(asking(url))
    assert "out of reach" in str(error)
    assert error.param == WHERE


@pytest.mark.parametrize("location", ["", "ftp://example.org/a", "file:///etc/passwd", "http://[oops/"])
async def test_a_redirect_to_no_web_address_is_refused(site: Site, location: str) -> None:
    url = site.page("/a", "301 Moved Permanently", b"", location=location)
    assert WHERE in str(await refusal(asking(url)))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:7f00:1]", "0.0.0.0"]
)
async def test_this_machine_is_never_asked_however_it_is_written(site: Site, host: str) -> None:
    port = site.url.rpartition(":")[2]
    site.page("/a.png")
    error = await refusal(asking(f"http://{host}:{port}/a.png"), pictures(is_public))
    assert error.param == WHERE
    assert str(error).startswith(WHERE)
    assert site.asked == []


async def test_behind_a_proxy_nothing_is_fetched_because_nothing_can_be_checked(site: Site) -> None:
    by_proxy = Pictures(
        lambda: HttpClient(user_agent="regrant/test", proxy=site.url, admits=is_public), wanted=lambda: True
    )
    error = await refusal(asking("http://pictures.example/a.png"), by_proxy)
    assert "cannot be checked behind a proxy" in str(error)
    assert site.asked == []


async def test_what_is_too_big_too_slow_empty_or_no_picture_is_refused(site: Site) -> None:
    tight = pictures(bounds=Bounds(each_bytes=100, each_s=0.3))
    big = site.page("/big", body=b"x" * 101)
    assert "is over 0 MB" in str(await refusal(asking(big), tight))
    assert "did not come within 0.3 s" in str(await refusal(asking(f"{site.url}/silence"), tight))
    assert "is empty" in str(await refusal(asking(site.page("/empty", body=b""))))
    assert "text/html" in str(await refusal(asking(site.page("/page", content_type="text/html"))))
    assert "status 404" in str(await refusal(asking(site.page("/gone", "404 Not Found"))))
    packed = site.page("/packed", content_encoding="gzip")
    assert "compressed" in str(await refusal(asking(packed)))


async def test_all_pictures_of_a_request_together_are_bounded(site: Site) -> None:
    urls = [site.page(f"/{number}.png") for number in range(3)]
    assert "over 0 MB together" in str(await refusal(asking(*urls), pictures(bounds=Bounds(total_bytes=60))))
    one_by_one = pictures(bounds=Bounds(total_bytes=60, at_once=1))
    many = [site.page(f"/many-{number}.png") for number in range(9)]
    await refusal(asking(*many), one_by_one)
    assert len([path for path in site.asked if "many" in path]) < 5, (
        "what is too much is not fetched to the end"
    )
    assert "more than 2 pictures" in str(await refusal(asking(*urls), pictures(bounds=Bounds(count=2))))


@pytest.mark.parametrize(
    "url", ["http://user:hush@127.0.0.1/a", "http://ex ample/a", "http://[oops/a", "http:///a"]
)
async def test_an_address_that_is_none_is_refused_without_repeating_secrets(url: str) -> None:
    error = await refusal(asking(url))
    assert error.param == WHERE
    assert "hush" not in str(error)


@pytest.mark.parametrize(
    "uri",
    [
        "gs://bucket/a.png",
        "https://generativelanguage.googleapis.com/v1beta/files/abc",
        "https://www.youtube.com/watch?v=1",
    ],
)
async def test_what_google_fetches_by_itself_is_left_to_google(uri: str) -> None:
    request = asking(uri)
    assert await pictures().embed(request) is request


async def test_the_setting_switches_it_off(site: Site) -> None:
    request = asking(site.page("/a.png"))
    assert await pictures(wanted=False).embed(request) is request
    assert site.asked == []
