"""Pictures and papers that a request names by their address: fetched, checked, and put into the request.

Theory of operation. The gateway fetches on behalf of a stranger, so that it must not become their way into its own network:
each connection goes to a checked address (`transport/addresses.py`, applied in `transport/dial.py`), each redirect is a new
request under the same rule, and size, time and type are bounded. Nothing of the client's or of an account's goes along.
What Google fetches by itself (its Files API, Cloud Storage, YouTube) is left as it is.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Final
from urllib.parse import urljoin, urlsplit

import msgspec

from regrant.dialects.media import type_of_data
from regrant.errors import AddressRefused, BodyTooLarge, DialectError, TransportError, UnsendableRequest
from regrant.messages.model import Media, Part, Request, Text, ToolResult, Turn
from regrant.transport import model as http
from regrant.transport.model import Response, Timeouts, Transport

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
PAPER: Final = "application/pdf"
_GOOGLES_OWN = ("generativelanguage.googleapis.com", "youtube.com", "www.youtube.com", "youtu.be")
_HEADERS = ((b"accept", b"image/*, application/pdf"), (b"accept-encoding", b"identity"))


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    each_bytes: int = 20 << 20
    total_bytes: int = 64 << 20
    each_s: float = 15.0
    redirects: int = 3
    count: int = 64
    """Different addresses in one request."""
    at_once: int = 4


class _Haul(msgspec.Struct):
    """What the fetches of one request share."""

    turnstile: asyncio.Semaphore
    left_bytes: int


class Refused(Exception):  # control flow of this module only
    """Why something cannot be fetched, as the second half of a sentence."""


class Pictures:
    """`connect` makes a Transport that connects to public addresses only; each step of a fetch has one of its own."""

    def __init__(
        self, connect: Callable[[], Transport], *, wanted: Callable[[], bool], bounds: Bounds | None = None
    ) -> None:
        self._connect = connect
        self._wanted = wanted
        self._bounds = bounds or Bounds()

    async def embed(self, request: Request) -> Request:
        """`request` with what it names by address inside. Raises: DialectError, naming the part that cannot be had."""
        named = {media.uri: media for media in _named(request)} if self._wanted() else {}
        if not named:
            return request
        if len(named) > self._bounds.count:
            raise DialectError(f"The request names more than {self._bounds.count} pictures by their address.")
        haul = _Haul(asyncio.Semaphore(self._bounds.at_once), self._bounds.total_bytes)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {uri: group.create_task(self._fetch(media, haul)) for uri, media in named.items()}
        except ExceptionGroup as failures:
            # Not `except*`: what it raises comes out wrapped again, in some versions of Python.
            refused = next((error for error in failures.exceptions if isinstance(error, DialectError)), None)
            raise refused or failures from None
        return _replace(request, {uri: task.result() for uri, task in tasks.items()})

    async def _fetch(self, media: Media, haul: _Haul) -> Media:
        async with haul.turnstile:
            try:
                async with asyncio.timeout(self._bounds.each_s):
                    fetched = await self._follow(media)
            except TimeoutError:
                raise _refusal(media, f"did not come within {self._bounds.each_s:g} s") from None
            except Refused as error:
                raise _refusal(media, str(error)) from None
            except AddressRefused as error:
                raise _refusal(media, f"is out of reach: {error}") from None
            except BodyTooLarge:
                raise _refusal(media, f"is over {self._bounds.each_bytes >> 20} MB") from None
            except (TransportError, UnsendableRequest) as error:
                raise _refusal(media, f"cannot be fetched: {error}") from error
            haul.left_bytes -= len(fetched.data) * 3 // 4
            if haul.left_bytes < 0:
                raise DialectError(
                    f"The pictures of the request are over {self._bounds.total_bytes >> 20} MB together."
                )
            return fetched

    async def _follow(self, media: Media) -> Media:
        """What is at the end of the redirects."""
        url = media.uri
        for _ in range(self._bounds.redirects + 1):
            found = await self._step(url, media)
            if isinstance(found, Media):
                return found
            url = found
        raise Refused(f"is redirected more than {self._bounds.redirects} times")

    async def _step(self, url: str, media: Media) -> Media | str:
        """What is at `url`: the media, or where it redirects to."""
        limits = Timeouts(self._bounds.each_s, self._bounds.each_s, self._bounds.each_s)
        transport = self._connect()
        try:
            response = await transport.send(http.Request("GET", url, _HEADERS, timeouts=limits))
            if response.status in REDIRECTS:
                return _next(url, response)
            return await self._read(response, media)
        finally:
            await transport.close()

    async def _read(self, response: Response, media: Media) -> Media:
        if response.status != 200:
            raise Refused(f"is answered with status {response.status}")
        said = (response.header(b"content-type") or b"").decode("latin-1").partition(";")[0].strip().lower()
        if not (said.startswith("image/") or said == media.mime == PAPER):
            raise Refused(f"is of type {said or 'unknown'}, not a picture")
        if (response.header(b"content-encoding") or b"identity") != b"identity":
            raise Refused("is sent compressed, which was not asked for")
        data = base64.b64encode(await response.read(self._bounds.each_bytes)).decode()
        if not data:
            raise Refused("is empty")
        return Media(mime=type_of_data(said, data), data=data, name=media.name)


def _named(request: Request) -> list[Media]:
    found: list[Media] = []
    for turn in request.turns:
        for part in turn.parts:
            if type(part) is Text:
                continue  # nearly all parts
            inside = part.content if isinstance(part, ToolResult) else (part,)
            found.extend(one for one in inside if isinstance(one, Media) and _fetchable(one.uri))
    return found


def _fetchable(uri: str) -> bool:
    if not uri.lower().startswith(("http://", "https://")):
        return False
    try:
        return urlsplit(uri).hostname not in _GOOGLES_OWN
    except ValueError:
        return True  # the fetch says what is wrong with it


def _replace(request: Request, fetched: dict[str, Media]) -> Request:
    def replace(part: Part) -> Part:
        match part:
            case Media():
                return fetched.get(part.uri, part)
            case ToolResult():
                content = tuple(
                    fetched.get(one.uri, one) if isinstance(one, Media) else one for one in part.content
                )
                return msgspec.structs.replace(part, content=content)
            case _:
                return part

    turns = tuple(Turn(role=turn.role, parts=tuple(map(replace, turn.parts))) for turn in request.turns)
    return msgspec.structs.replace(request, turns=turns)


def _next(url: str, response: Response) -> str:
    """Where a redirect leads."""
    try:
        target = urljoin(url, (response.header(b"location") or b"").decode("ascii"))
    except ValueError:
        target = ""
    if not target.startswith(("http://", "https://")):
        raise Refused("is redirected to something that is no web address")
    return target


def _refusal(media: Media, why: str) -> DialectError:
    named = media.where or "A picture of the request"
    host = media.uri.partition("://")[2].partition("/")[0].rpartition("@")[2][:200]
    return DialectError(
        f"{named}: what is named there, on {host}, {why}. Send it inside the request instead (base64).",
        param=media.where,
    )
