"""`regrant serve`: one gateway process, or several behind one port.

Binds the port first, so that a port in use is told at once; then loads the accounts, starts to accept and says so in one
line on stdout. SIGTERM and SIGINT end it in order: no new connections, requests in flight are finished, refreshes in
flight are waited for. Everything else that is said goes to stderr and the log file.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from regrant import __version__, logs
from regrant.app import build
from regrant.clock import SystemClock
from regrant.errors import RegrantError, SettingsError
from regrant.files import write_atomically
from regrant.gateway.key_file import KeyFile
from regrant.gateway.keys import effective_mode
from regrant.listener.server import Server
from regrant.settings import Settings, data_dir, ensure_layout
from regrant.settings.addresses import is_loopback
from regrant.settings.live import LiveSettings
from regrant.traffic.ledger import Ledger

DRAIN_S = 30
BACKLOG = 2048
THREADS = 32  # for files and databases, begun as needed: a few that hang on a lock or a slow disk must not hold up the rest

log = logs.get("serve")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="regrant serve",
        description="Run the gateway. Settings: flags, then REGRANT_… variables, then config.toml, then defaults.",
    )
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on; 0 picks a free one (default 8045)")
    parser.add_argument(
        "--data-dir", help="data folder (default: REGRANT_DATA_DIR, else the user's data folder)"
    )
    parser.add_argument("--workers", type=int, help="number of processes behind the port (default 1)")
    parser.add_argument(
        "--sandbox", action="store_true", help="serve three pretend accounts of the built-in sandbox"
    )
    parser.add_argument("--open", action="store_true", help="open the address in a browser")
    parser.add_argument("--listen-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--ledger", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def serve(arguments: Sequence[str]) -> int:
    """Serve until told to stop. Exit code 0, 1 for a port in use, 2 for wrong settings or usage."""
    options = parse(arguments)
    folder = data_dir(options.data_dir, os.environ)
    try:
        return _serve(options, folder)
    except SettingsError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 2
    except RegrantError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _serve(options: argparse.Namespace, folder: Path) -> int:
    flags = {"server.host": options.host, "server.port": options.port, "server.workers": options.workers}
    environ = dict(os.environ)
    if options.sandbox:
        from regrant.cli.sandboxed import running_sandbox

        folder /= "sandbox"
        ensure_layout(folder)
        environ = {name: value for name, value in environ.items() if not name.startswith("REGRANT_")}
        with running_sandbox(folder) as overrides:
            return _serve_folder(options, folder, flags | overrides, environ)
    ensure_layout(folder)
    return _serve_folder(options, folder, flags, environ)


def _serve_folder(
    options: argparse.Namespace, folder: Path, flags: dict[str, Any], environ: dict[str, str]
) -> int:
    settings = LiveSettings(folder, flags, environ)
    logs.configure(settings().log, folder)
    for warning in settings.loaded.warnings:
        log.warning("settings_warning", warning)
    if options.listen_fd is not None:
        shared = None if options.ledger is None else Ledger(options.ledger)
        return _run(
            settings, socket.socket(fileno=options.listen_fd), first=False, browser=False, ledger=shared
        )
    try:
        listener = bind(settings().server.host, settings().server.port)
    except OSError as error:
        where = f"{settings().server.host}:{settings().server.port}"
        print(
            f"cannot listen on {where}: {error.strerror or error}. Stop the program that uses the port, or choose"
            " another: regrant serve --port 0 picks a free one.",
            file=sys.stderr,
        )
        return 1
    with listener:
        first_key(settings)
        warn_if_open(settings())
        if settings().server.workers > 1:
            from regrant.cli.workers import supervise

            return supervise(
                settings, listener, [*sys.argv[1:]], announce=lambda: announce(folder, url_of(listener))
            )
        return _run(settings, listener, first=True, browser=options.open)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(
        family, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )  # else asyncio sets no TCP_NODELAY
    try:
        if os.name != "nt":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)  # the socket module's own signature
    except BaseException:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def announce(folder: Path, url: str) -> Iterator[None]:
    """Say that requests are accepted: one line on stdout, and a file in `run/` while it is so."""
    note = folder / "run" / f"{os.getpid()}.json"
    _remove_notes_of_the_dead(note.parent)
    content = {"pid": os.getpid(), "url": url, "version": __version__, "started_at": int(time.time())}
    try:
        write_atomically(note, msgspec.json.encode(content))
    except OSError as error:
        log.warning("run_note_missing", f"cannot write {note}: {error.strerror}")
    print(f"Regrant is ready: {url}", flush=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            note.unlink()


def _remove_notes_of_the_dead(folder: Path) -> None:
    """A gateway that was killed could not take its note back."""
    if os.name == "nt":  # there os.kill would end the process that it asks about
        return
    for note in folder.glob("*.json"):
        try:
            os.kill(int(note.stem), 0)
        except (ProcessLookupError, ValueError, OverflowError):
            with contextlib.suppress(OSError):
                note.unlink()
        except OSError:
            continue  # it runs, as another user


def _run(
    settings: LiveSettings,
    listener: socket.socket,
    *,
    first: bool,
    browser: bool,
    ledger: Ledger | None = None,
) -> int:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_main(settings, listener, first=first, browser=browser, ledger=ledger))
    return 0


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:  # Windows
        return None
    return uvloop.new_event_loop


async def _main(
    settings: LiveSettings,
    listener: socket.socket,
    *,
    first: bool,
    browser: bool,
    ledger: Ledger | None,
) -> None:
    app = build(settings, ledger=ledger)
    app.address = url_of(listener)
    server = Server(app.answer)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="work"))
    told = asyncio.Event()

    def stop() -> None:
        """Drain and end; asked again, end at once."""
        app.begin_close()
        if told.is_set():
            server.cut()
        told.set()

    # Before the start, which takes a while where there are many accounts.
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows: KeyboardInterrupt does it
            loop.add_signal_handler(number, stop)
    try:
        await app.start()
        if told.is_set():
            return
        gc.freeze()  # what is here now stays: no collection in the middle of a request need look at it
        await server.start(listener)
        with announce(settings.data_dir, app.address) if first else worker_ready():
            if browser:
                import webbrowser

                await asyncio.to_thread(webbrowser.open, app.address)
            await told.wait()
            await server.stop(drain_s=DRAIN_S)
    finally:
        await app.close()
        log.info("stopped", "stopped")


@contextlib.contextmanager
def worker_ready() -> Iterator[None]:
    """Tell the supervisor, which reads this process's stdout, that this worker accepts."""
    print("ready", flush=True)
    yield


def first_key(settings: LiveSettings) -> None:
    """If clients need a key and there is none, make one and say it once, on stderr."""
    keys = KeyFile(settings.data_dir, SystemClock())
    if effective_mode(settings().server) == "off" or settings().server.api_key or keys.load():
        return
    _, secret = keys.create("first")
    print(f"A client key was made, it is shown only now: {secret.reveal()}", file=sys.stderr, flush=True)


def warn_if_open(settings: Settings) -> None:
    if effective_mode(settings.server) == "off" and not is_loopback(settings.server.host):
        log.warning(
            "open_gateway", "auth_mode is off and the gateway listens beyond this machine: anybody may use it"
        )
