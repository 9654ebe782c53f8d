"""HttpClient keeps the contract of `Transport`, on both event loops."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.transport.hostile import client_of
from tests.transport.transport_contract import TransportContract

from regrant.transport.model import Transport


class TestHttpClient(TransportContract):
    @pytest.fixture
    async def transport(self) -> AsyncIterator[Transport]:
        async with client_of() as client:
            yield client
