"""<data>/admin.token: the word that opens the back office. Made at the first start, for the owner's eyes only.

Who shows it, and how it is compared, is `doors.py`.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from regrant.errors import RegrantError
from regrant.files import read_bounded, write_atomically
from regrant.secret import Secret

FILE = "admin.token"
TOKEN_BYTES = 32
MAX_FILE_BYTES = 4096
LOCK_WAIT_S = 10


class TokenError(RegrantError):
    """The admin token can be neither read nor made; says which file and why."""


def ensure_token(data_dir: Path) -> Secret:
    """The admin token, made (256 random bits, mode 0600) if there is none. Raises TokenError. Safe among processes."""
    from filelock import FileLock, Timeout

    path = data_dir / FILE
    try:
        token = _read(path)
        if token:
            return token
        locks = data_dir / "locks"
        locks.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(locks / "admin.lock", timeout=LOCK_WAIT_S, mode=0o600):
            token = _read(path)
            if not token:
                token = Secret(secrets.token_urlsafe(TOKEN_BYTES))
                write_atomically(path, token.reveal().encode() + b"\n")
            return token
    except Timeout as error:
        raise TokenError(f"{path}: another process has held it for {LOCK_WAIT_S} s; try again") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise TokenError(f"{path}: {reason}; make it readable, or remove it to get a new one") from error


def _read(path: Path) -> Secret:
    try:
        return Secret(read_bounded(path, limit=MAX_FILE_BYTES).decode().strip())
    except FileNotFoundError:
        return Secret()
