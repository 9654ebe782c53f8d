"""Another process with a keeper on the same folder: python keeper_process.py DATA_DIR NOW; `go` on stdin starts it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from regrant.accounts.file_store import FileStore
from regrant.accounts.keeper import Keeper
from regrant.accounts.model import Account
from regrant.oauth.google import Granted
from regrant.secret import Secret


class StandingClock:
    def __init__(self, at: float) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class Endpoint:
    def __init__(self) -> None:
        self.asked = 0

    async def refresh(self, _: Account) -> Granted:
        self.asked += 1
        await asyncio.sleep(0.05)
        return Granted(Secret("access-from-the-other-process"), 3600.0, "Bearer", "", None, None, None)


async def main(data_dir: Path, at: float) -> None:
    endpoint = Endpoint()
    keeper = Keeper(
        FileStore(data_dir, now=lambda: at), endpoint, clock=StandingClock(at), idle_check_s=lambda: 1e9
    )
    await keeper.start()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    tokens = await asyncio.gather(*(keeper.token("ann") for _ in range(20)))
    await keeper.close()
    print(json.dumps({"tokens": sorted({token.reveal() for token in tokens}), "asked": endpoint.asked}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2])))
