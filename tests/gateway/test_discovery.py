"""The list of models is asked for once and remembered for an hour."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.pool.fakes import HandClock

from regrant.gateway.discovery import KEEP_FAILURE_S, KEEP_S, Discovery, read_page
from regrant.messages.catalogue import ModelInfo


class Google:
    """Answers with the next of `answers`, the last one for ever; holds answers back while `gate` is closed."""

    def __init__(self, *answers: Sequence[str] | None) -> None:
        self._answers = list(answers)
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self) -> Sequence[ModelInfo] | None:
        self.asked += 1
        await self.gate.wait()
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return None if answer is None else [ModelInfo(id=name) for name in answer]


async def test_models_are_remembered_for_an_hour() -> None:
    clock, google = HandClock(), Google(["a"], ["a", "b"])
    discovery = Discovery(google.fetch, clock)
    assert list(await discovery.models()) == ["a"]
    clock.time += KEEP_S - 1
    assert list(await discovery.models()) == ["a"]
    clock.time += 2
    assert list(await discovery.models()) == ["a", "b"]
    assert google.asked == 2


async def test_a_failure_keeps_what_is_known_and_is_repeated_soon() -> None:
    clock, google = HandClock(), Google(["a"], None, ["b"])
    discovery = Discovery(google.fetch, clock)
    await discovery.models()
    clock.time += KEEP_S
    assert list(await discovery.models()) == ["a"]
    assert list(await discovery.models()) == ["a"]
    clock.time += KEEP_FAILURE_S
    assert list(await discovery.models()) == ["b"]
    assert google.asked == 3


async def test_an_old_list_serves_while_google_takes_its_time() -> None:
    clock, google = HandClock(), Google(["a"], ["b"])
    discovery = Discovery(google.fetch, clock, patience_s=0.0)
    await discovery.models()
    clock.time += KEEP_S
    google.gate.clear()
    assert list(await discovery.models()) == ["a"]
    assert list(discovery.now_known()) == ["a"]
    assert not discovery.fresh
    google.gate.set()
    await discovery.refresh()
    assert list(discovery.now_known()) == ["b"]
    assert google.asked == 2


async def test_what_is_known_stays_the_same_object_until_something_new_is() -> None:
    clock, google = HandClock(), Google(["a"], None, ["a"])
    discovery = Discovery(google.fetch, clock)
    first = await discovery.models()
    discovery.forget()
    assert await discovery.models() is first
    clock.time += KEEP_FAILURE_S
    assert await discovery.models() is not first


async def test_everybody_shares_one_question_which_outlives_who_asked_first() -> None:
    google = Google(["a"])
    google.gate.clear()
    discovery = Discovery(google.fetch, HandClock())
    first, second = (asyncio.create_task(discovery.models()) for _ in range(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    google.gate.set()
    assert list(await second) == ["a"]
    assert google.asked == 1


async def test_what_is_forgotten_is_asked_anew() -> None:
    google = Google(["a"], ["b"])
    discovery = Discovery(google.fetch, HandClock())
    await discovery.models()
    discovery.forget()
    assert list(await discovery.models()) == ["b"]


def test_a_page_of_either_api_is_read() -> None:
    gemini = b'{"models":[{"name":"models/a","inputTokenLimit":5},{"name":""}],"nextPageToken":"more"}'
    found, following = read_page(gemini)
    assert [(model.id, model.input_token_limit) for model in found] == [("a", 5)]
    assert following == "more"
    vertex, following = read_page(b'{"publisherModels":[{"name":"publishers/google/models/b"}]}')
    assert ([model.id for model in vertex], following) == (["b"], "")
