"""How long a client says that it will wait."""

from __future__ import annotations

import pytest

from regrant.gateway.patience import read_patience


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({b"x-stainless-timeout": b"600"}, 600.0),
        ({b"x-stainless-read-timeout": b"600"}, 600.0),
        ({b"x-stainless-timeout": b"2.5"}, 2.5),
        ({b"x-server-timeout": b"30"}, 30.0),
        ({b"x-stainless-timeout": b"NOT_GIVEN", b"x-server-timeout": b"7"}, 7.0),
        ({b"x-stainless-timeout": b"0"}, None),
        ({b"x-stainless-timeout": b"-1"}, None),
        ({b"x-stainless-timeout": b"inf"}, None),
        ({b"x-stainless-timeout": b"nan"}, None),
        ({b"x-stainless-timeout": b""}, None),
        ({b"x-stainless-timeout": b"\xff"}, None),
    ],
)
def test_a_client_s_patience_is_read_where_it_can_be_meant(
    headers: dict[bytes, bytes], seconds: float | None
) -> None:
    assert read_patience(headers) == seconds
