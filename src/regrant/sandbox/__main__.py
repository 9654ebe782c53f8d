"""`python -m regrant.sandbox`: run the pretend Google until a signal ends it."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from regrant.sandbox.server import DEFAULT_PEOPLE, Sandbox


def main() -> int:
    """Returns the exit code: 0 after SIGTERM or SIGINT, 1 if the port cannot be had."""
    arguments = _arguments()
    if bool(arguments.tls_cert) != bool(arguments.tls_key):
        sys.stderr.write("--tls-cert and --tls-key go together.\n")
        return 2
    try:
        asyncio.run(_run(arguments))
    except OSError as error:
        sys.stderr.write(
            f"The sandbox cannot listen on {arguments.host} port {arguments.port}: {error.strerror}.\n"
        )
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m regrant.sandbox", description="A pretend Google on loopback."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--people", default=",".join(DEFAULT_PEOPLE), help="names or e-mails, with commas")
    parser.add_argument("--tls-cert", default="")
    parser.add_argument("--tls-key", default="")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> None:
    sandbox = Sandbox(
        people=[name.strip() for name in arguments.people.split(",") if name.strip()],
        host=arguments.host,
        port=arguments.port,
        tls_cert=arguments.tls_cert,
        tls_key=arguments.tls_key,
    )
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    url = await sandbox.start()
    sys.stdout.write(f"Sandbox is ready: {url}\n")
    sys.stdout.flush()
    await done.wait()
    await sandbox.stop()


if __name__ == "__main__":
    sys.exit(main())
