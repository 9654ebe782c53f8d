"""The command `regrant`. `serve` is dispatched without loading the other commands, so that it starts fast."""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Run the command line; the exit code is 0 fine, 1 what was asked for failed, 2 usage."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["serve"]:
        # Told to end while it is still being loaded, it has nothing to finish; `serve` itself hears of it later on.
        # Not by an exception: one in the middle of loading compiled modules can crash the interpreter.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os._exit(0))
        from regrant.cli.serve import serve

        return serve(arguments[1:])
    from regrant.cli.commands import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
