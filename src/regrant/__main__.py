"""The command `regrant`. `serve` is dispatched without loading the other commands, so that it starts fast."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; the exit code is 0 fine, 1 what was asked for failed, 2 usage."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["serve"]:
        from regrant.cli.serve import serve

        return serve(arguments[1:])
    from regrant.cli.commands import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
