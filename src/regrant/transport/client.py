"""The HTTP/1.1 client: one pool of connections per origin, one attempt per `send`.

A request is never sent twice. An idle connection is thrown away unused when it was closed, or has received anything,
since its last answer; that is the only case in which another connection takes over, and no byte has been written then. Once
bytes went out on a connection that turns out to be dead, ResetBeforeAnswer is raised even if no answer byte came,
because the peer may have acted on them: whether to ask again is the caller's decision.

Heads are `head.py` and `parser.py`, the exchange is `answer.py`, connections are `connection.py`, `pool.py` and
`dial.py`, the way through a proxy is `proxy_rules.py`, `proxy.py` and `tunnel.py`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from regrant.errors import ConnectFailed
from regrant.transport.answer import Answer
from regrant.transport.connection import Connection
from regrant.transport.dial import Admits, dial
from regrant.transport.head import check_agent, encode_head, end_head
from regrant.transport.model import Headers, Request, Response
from regrant.transport.pool import Pool
from regrant.transport.proxy import Route, find_route
from regrant.transport.proxy_rules import proxy_rules
from regrant.transport.tls import client_context
from regrant.transport.tunnel import proxy_refusal
from regrant.transport.url import Origin, parse_url

MAX_PATHS = 512  # requests whose lines are remembered; they hold credentials, as their callers do


class _Path(NamedTuple):
    """All about a request but its body."""

    pool: Pool
    host: str
    head: bytes
    proxied: bool


class HttpClient:
    """Implements `Transport`. Belongs to one event loop.

    `ca_file` (PEM) is trusted in addition to the system's CAs. `proxy` is `http://`, `socks5://` or `socks5h://` with
    `[user:password@]host[:port]`, `none`, or empty for the proxy variables of `environment` (`proxy_rules.py`); this
    machine is always reached directly. `admits` judges every address before it is connected to; a host with one that
    it refuses, or behind a proxy, where that cannot be known, is not connected to (AddressRefused). Raises
    SettingsError when one of the texts cannot be used.
    """

    def __init__(
        self,
        *,
        user_agent: str,
        ca_file: str = "",
        proxy: str = "",
        environment: Mapping[str, str] = MappingProxyType({}),
        admits: Admits | None = None,
        max_connections_per_origin: int = 2048,
        keepalive_s: float = 60.0,  # Google's front ends keep idle connections for four minutes
    ) -> None:
        self._agent_line = check_agent(user_agent)
        self._ca_file = ca_file
        self._context = client_context(ca_file) if ca_file else None
        self._proxies = proxy_rules(proxy, environment)
        self._admits = admits
        self._limit = max_connections_per_origin
        self._keepalive_s = keepalive_s
        self._origins: dict[Origin, tuple[Route, Pool]] = {}
        self._paths: dict[tuple[str, str, Headers], _Path] = {}
        self._closed = False

    async def send(self, request: Request) -> Response:
        url, fields = request.url, request.headers
        path = self._paths.get((request.method, url, fields)) if isinstance(fields, tuple) else None
        if path is None:
            path = self._find_path(request)
        connection = path.pool.take()
        if connection is None:
            connection = await path.pool.acquire(request.timeouts.connect_s)
        answer = Answer(connection, request, path.host)
        await answer.exchange(end_head(path.head, request))
        if answer.status == 407 and path.proxied:
            await answer.close()
            raise proxy_refusal(407)
        return answer

    @property
    def connections(self) -> int:
        """How many connections are open, in use or not."""
        return sum(pool.open for _, pool in self._origins.values())

    async def close(self) -> None:
        self._closed = True
        self._paths.clear()
        await asyncio.gather(*(pool.close() for _, pool in self._origins.values()))

    def _find_path(self, request: Request) -> _Path:
        origin, target = parse_url(request.url)
        known = self._origins.get(origin)
        route, pool = known if known is not None else self._add_origin(origin)
        target = route.target_prefix + target
        head = encode_head(request, target, fixed=route.fixed, agent_line=self._agent_line)
        path = _Path(pool, origin.host, head, bool(route.target_prefix))
        if isinstance(request.headers, tuple):
            if len(self._paths) >= MAX_PATHS:
                self._paths.clear()
            self._paths[(request.method, request.url, request.headers)] = path
        return path

    def _add_origin(self, origin: Origin) -> tuple[Route, Pool]:
        if self._closed:
            raise ConnectFailed("the HTTP client is closed")
        route = find_route(origin, self._proxies.proxy_for(origin))

        async def open_connection(pool: Pool) -> Connection:
            loop = asyncio.get_running_loop()
            context = self._tls() if origin.secure else None
            return await dial(route, lambda: Connection(loop, pool), context, admits=self._admits)

        pool = Pool(open_connection, limit=self._limit, keepalive_s=self._keepalive_s)
        self._origins[origin] = route, pool
        return route, pool

    def _tls(self) -> ssl.SSLContext:
        """Made on first use: reading the system's CAs takes tens of milliseconds."""
        if self._context is None:
            self._context = client_context(self._ca_file)
        return self._context
