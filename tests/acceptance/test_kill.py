"""kill -9 of a gateway that writes under load: no file is torn, and nothing that was acknowledged is lost."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path

from tests.acceptance.harness import Gateway, People, read_account, wait_until
from tests.sandbox_client import SandboxProcess

NAMES = [f"person{number}" for number in range(6)]
ROUNDS = 8


@dataclass
class Written:
    """What one writer was told to be stored, and what it asked for last."""

    acknowledged: str = ""
    asked: str = ""


def all_acknowledged(written: Mapping[str, Written]) -> bool:
    return all(one.acknowledged for one in written.values())


def write(gateway: Gateway, name: str, turn: int, written: Written) -> None:
    """Change the label until the gateway is gone."""
    for number in range(100_000):
        written.asked = f"turn {turn} label {number}"
        try:
            answer = gateway.admin("PATCH", f"/api/accounts/{name}", {"label": written.asked})
        except (OSError, HTTPException):
            return
        assert answer.status == 200
        written.acknowledged = written.asked


def call(gateway: Gateway, sandbox: SandboxProcess) -> None:
    """Requests whose tokens run out all the time, so that refreshes are stored too."""
    for number in range(100_000):
        try:
            if number % 5 == 0:
                sandbox.expire(f"{NAMES[number % len(NAMES)]}@example.com")
            gateway.chat(f"number {number}")
        except (OSError, HTTPException):
            return


def test_kill_9_at_random_moments_under_load_tears_and_loses_nothing(
    sandbox: SandboxProcess, data_dir: Path, people: People
) -> None:
    grants = people(*NAMES)
    moments = random.Random(20_261_122)
    for turn in range(ROUNDS):
        written = {name: Written() for name in NAMES}
        with Gateway(data_dir, sandbox.url) as gateway:
            gateway.admin("GET", "/api/accounts")
            threads = [
                threading.Thread(target=write, args=(gateway, name, turn, written[name])) for name in NAMES
            ]
            threads.append(threading.Thread(target=call, args=(gateway, sandbox)))
            for thread in threads:
                thread.start()
            wait_until(partial(all_acknowledged, written), "all writers are at it")
            threading.Event().wait(moments.uniform(0.0, 0.5))
            gateway.kill()
            for thread in threads:
                thread.join()
        for name in NAMES:
            document = read_account(data_dir, name)
            assert document["label"] in {written[name].acknowledged, written[name].asked}
            assert document["token"]["refresh_token"] == grants[name].refresh_token
    with Gateway(data_dir, sandbox.url) as gateway:
        assert gateway.ready() == {"ready": True, "reasons": {}}
        for name in NAMES:
            assert gateway.account(name)["label"] == read_account(data_dir, name)["label"]
            assert gateway.admin("POST", f"/api/accounts/{name}/verify").json()["outcome"] == "alive"
        assert not gateway.log("account_corrupt")
        left = sorted(path.name for path in (data_dir / "accounts").iterdir())
        assert left == sorted(f"{name}.json" for name in NAMES), "what killed writers left is cleared up"
