"""<data>/keys.json: the client keys on disk, shared by every process on the data folder.

What a key is and how it is compared is in `keys`.
"""

from __future__ import annotations

import os
import secrets
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from regrant.clock import Clock
from regrant.errors import RegrantError
from regrant.files import temporaries, write_atomically
from regrant.gateway.keys import SETTINGS_NAME, Key, make_key, secret_from
from regrant.secret import Secret

LOCK_WAIT_S = 10
Signature = tuple[int, int, int] | None


class KeysError(RegrantError):
    """The keys cannot be read or changed; the text says what to do."""


class KeyFile:
    """`keys` is the last good content. `load` follows the file; `create` and `revoke` change it under its lock."""

    def __init__(
        self, data_dir: Path, clock: Clock, new_token: Callable[[], str] = lambda: secrets.token_urlsafe(32)
    ) -> None:
        self.path = data_dir / "keys.json"
        self.keys: tuple[Key, ...] = ()
        self._lock_path = data_dir / "locks" / "keys.lock"
        self._clock = clock
        self._new_token = new_token
        self._seen: Signature = None

    def changed(self) -> bool:
        """Whether the file differs from what `load` saw last: one stat, fit to be asked every second."""
        return self._signature() != self._seen

    def load(self) -> tuple[Key, ...]:
        """The keys on disk, none when there is no file. Raises KeysError and keeps the last good keys in `keys`."""
        self._seen = self._signature()  # before reading: a change during the read is seen as one afterwards
        self.keys = self._read()
        return self.keys

    def create(self, name: str) -> tuple[Key, Secret]:
        """A new key. Its secret is in the answer and nowhere else. Raises KeysError for a name that is taken."""
        label = name.strip()
        if not label or label == SETTINGS_NAME or not label.isprintable() or len(label) > 100:
            raise KeysError(
                f'a key needs a name of 1 to 100 printable characters, other than "{SETTINGS_NAME}"'
            )
        with self._locked():
            keys = self._read()
            if any(label in {key.name, key.id} for key in keys):
                raise KeysError(f'there is a key named "{label}"; choose another name, or revoke it first')
            secret = secret_from(self._new_token())
            key = make_key(secret, id=str(uuid.uuid4()), name=label, now=self._clock.now())
            self._write((*keys, key))
        return key, secret

    def revoke(self, id_or_name: str) -> Key:
        """Remove a key and return it. Raises KeysError when there is none."""
        with self._locked():
            keys = self._read()
            gone = next((key for key in keys if id_or_name in {key.id, key.name}), None)
            if gone is None:
                raise KeysError(f'there is no key "{id_or_name}"; "regrant keys list" shows them')
            self._write(tuple(key for key in keys if key.id != gone.id))
        return gone

    def note_used(self, used: Mapping[str, float]) -> None:
        """Store when keys were last used, unix seconds by id; keys revoked meanwhile stay revoked."""
        with self._locked():
            keys = self._read()
            noted = tuple(_used_at(key, used.get(key.id, 0)) for key in keys)
            if noted != keys:
                self._write(noted)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        try:
            self._lock_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(self._lock_path, timeout=LOCK_WAIT_S, mode=0o600):
                yield
        except Timeout as error:
            raise KeysError(
                f"{self.path}: another process has held it for {LOCK_WAIT_S} s; try again"
            ) from error
        except OSError as error:
            raise KeysError(
                f"{self.path}: cannot be written ({error.strerror}); free space or make it writable"
            ) from error

    def _read(self) -> tuple[Key, ...]:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=tuple[Key, ...])
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise KeysError(
                f"{self.path}: cannot be read ({error.strerror}); check its owner and mode"
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            advice = "mend it, or move it away and create the keys anew"
            raise KeysError(f"{self.path}: not a list of keys ({error}); {advice}") from error

    def _write(self, keys: tuple[Key, ...]) -> None:
        for leftover, target in temporaries(
            self.path.parent
        ):  # of killed writers: under the lock nobody else writes
            if target == self.path.name:
                leftover.unlink(missing_ok=True)
        write_atomically(self.path, msgspec.json.format(msgspec.json.encode(keys), indent=2) + b"\n")

    def _signature(self) -> Signature:
        try:
            stat = os.stat(self.path)
        except OSError:
            return None
        return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _used_at(key: Key, at: float) -> Key:
    return msgspec.structs.replace(key, last_used_at=at) if at > (key.last_used_at or 0) else key
