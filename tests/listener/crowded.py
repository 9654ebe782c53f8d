"""A server in a process that may open only a few files; says its port. `python -m tests.listener.crowded asyncio|uvloop`."""

from __future__ import annotations

import asyncio
import resource
import sys

import uvloop

from regrant.cli.serve import bind
from regrant.listener.conversation import Conversation
from regrant.listener.server import Server

FILES = 40


async def answer(conversation: Conversation) -> None:
    conversation.reply(200, b"", b"ok")


async def main() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    listener = bind("127.0.0.1", 0)
    await Server(answer).start(listener)
    print(listener.getsockname()[1], flush=True)
    await asyncio.sleep(60)


if __name__ == "__main__":
    factory = uvloop.new_event_loop if sys.argv[1] == "uvloop" else asyncio.SelectorEventLoop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
