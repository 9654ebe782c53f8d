"""The stage of the chaos: accounts in several projects, the sandbox and the gateway; carries out what the schedule says.

What was done, and when, is written down for the oracle.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.acceptance.chaos import faults
from tests.acceptance.chaos.faults import Fault
from tests.acceptance.chaos.schedule import NAMES, ON_VERTEX, PROJECTS, Act, Plan, email
from tests.acceptance.harness import Gateway, Json, account_file, hand_edit, http_call
from tests.sandbox_client import SandboxControl

MAX_ATTEMPTS = 4
DEADLINE_S = 6.0
SEEN_S = 3.0
TRIES = 5


@dataclass(frozen=True)
class Deed:
    """Something that was done to an account, from `begun` to `done` (unix seconds). `kind`: out, back or other."""

    who: str
    what: str
    kind: str
    begun: float
    done: float


@dataclass
class Diary:
    """What the oracle must know besides the journal."""

    deeds: list[Deed] = field(default_factory=list)
    scripts: dict[int, Fault] = field(default_factory=dict)
    token_scripts: dict[int, dict[str, Any]] = field(default_factory=dict)
    cleared: list[float] = field(default_factory=list)
    """When a person ended every cool-down (unix seconds)."""
    troubles: list[str] = field(default_factory=list)


def timezone_at_noon(now: float) -> str:
    """A time zone in which it is about noon: no midnight comes while the test runs."""
    hours = round(12 - now % 86400 / 3600)
    return "Etc/GMT" if hours == 0 else f"Etc/GMT{-hours:+d}"


def settings_of(*, protected: bool) -> dict[str, str]:
    """What stays the same through a run; the strategy is in `config.toml`, because it changes."""
    limits = [
        {"model": "*", "requests_per_minute": 100_000, "requests_per_day": 1_000_000},
        {"model": "gemini-3.8-flash", "project_id": "project-2", "requests_per_day": 40},
        {"model": "gemini-2.5-flash", "project_id": "project-3", "requests_per_minute": 30},
    ]
    return {
        "POOL__MAX_ATTEMPTS": str(MAX_ATTEMPTS),
        "POOL__DEADLINE_S": str(DEADLINE_S),
        "POOL__IDLE_S": "2",
        "POOL__MAX_WAIT_S": "1",
        "POOL__SLOW_START_S": "1",
        "POOL__ATTENTION_RETRY_S": str(faults.REFUSED_S),
        "QUOTA__TIMEZONE": timezone_at_noon(time.time()),
        "QUOTA__LIMITS": json.dumps(limits),
        "QUOTA__PROTECTION": "true" if protected else "false",
    }


class Stage:
    def __init__(self, sandbox: SandboxControl, data_dir: Path) -> None:
        self.sandbox = sandbox
        self.data_dir = data_dir
        self.diary = Diary()
        self._labels: dict[str, list[int]] = {}
        self._hands = ThreadPoolExecutor(4, thread_name_prefix="hand")
        self._busy: list[Future[None]] = []
        self._gateway: Gateway | None = None
        for name in NAMES:
            self._enter(name)

    def _enter(self, name: str) -> None:
        self.sandbox.person(email(name), projects=[PROJECTS[name]])
        if name in NAMES[::3]:
            self.sandbox.settings(email(name), expires_in=6)
        grant = self.sandbox.grant(email(name))
        upstream = "vertex" if name in ON_VERTEX else "gemini"
        account_file(self.data_dir, name, grant, project_id=PROJECTS[name], upstream=upstream)

    @contextlib.contextmanager
    def gateway(self, strategy: str, settings: dict[str, str]) -> Iterator[Gateway]:
        """`regrant serve` as a process, stopped at the end."""
        (self.data_dir / "config.toml").write_text(f'[pool]\nstrategy = "{strategy}"\n')
        with Gateway(self.data_dir, self.sandbox.url, port=0, **settings) as gateway:
            self._gateway = gateway
            yield gateway

    def play(self, plan: Plan) -> None:
        """Carry the whole plan out, each act at its time."""
        start = time.monotonic()
        for act in plan.acts:
            time.sleep(max(0.0, start + act.at - time.monotonic()))
            if act.what in {"script", "unscript", "trouble_tokens"}:
                self._do(act)
            else:
                self._busy.append(self._hands.submit(self._do, act))
        time.sleep(max(0.0, start + plan.seconds - time.monotonic()))

    def calm(self) -> None:
        """End every fault of Google's, and mend what needs a person."""
        for one in self._busy:
            one.result(60)
        self.sandbox.unscript()
        self.mend()

    def mend(self) -> None:
        """What only a person can do: sign in again where a grant has died, resume what is paused."""
        for account in self.admin("GET", "/api/accounts?limit=1000")["items"]:
            if account["state"] == "disabled":
                self.sign_in(Act(0, "sign_in", account["id"]))
            if "proxy_disabled" in account:
                self.resume(Act(0, "resume", account["id"]))

    def clear_all(self) -> None:
        self.diary.cleared.append(time.time())
        self.admin("POST", "/api/pool/clear", {"all": True})

    def close(self) -> None:
        self._hands.shutdown()

    def _do(self, act: Act) -> None:
        getattr(self, act.what)(act)

    def admin(self, method: str, path: str, body: Any = None) -> Json:
        assert self._gateway is not None
        token = (self.data_dir / "admin.token").read_text().strip()
        headers = {"authorization": f"Bearer {token}"}
        answer = http_call(self._gateway.url, method, path, body, headers, timeout_s=60)
        if answer.status in {422, 503} and path == "/api/accounts":
            return {}  # Google refused: a person tries again
        if answer.status >= 400:
            self.diary.troubles.append(f"{method} {path}: {answer.status} {answer.body[:300]!r}")
            return {}
        found: Json = answer.json()
        return found

    @contextlib.contextmanager
    def _deed(self, act: Act, kind: str) -> Iterator[None]:
        begun = time.time()
        # Whatever was known of the account before may be wrong from now on, also while this goes on.
        self.diary.deeds.append(Deed(act.who, act.what, "other", begun, begun))
        yield
        self.diary.deeds.append(Deed(act.who, act.what, kind, begun, time.time()))

    # -- Google's side --

    def script(self, act: Act) -> None:
        fault = act.fault
        assert fault is not None
        details = dict(act.details)
        label = details.pop("label", "")
        number = self.sandbox.script(fault.kind, **details, **fault.fields)
        self.diary.scripts[number] = fault
        if label:
            self._labels.setdefault(label, []).append(number)

    def unscript(self, act: Act) -> None:
        for number in self._labels.pop(act.details["label"]):
            with contextlib.suppress(OSError):  # it was used up
                self.sandbox.unscript(number)

    def trouble_tokens(self, act: Act) -> None:
        behaviour = dict(act.details["behaviour"])
        number = self.sandbox.script(
            behaviour.pop("kind"),
            email=email(act.who),
            endpoint="token",
            times=act.details["times"],
            **behaviour,
        )
        self.diary.token_scripts[number] = act.details["behaviour"]

    def expire(self, act: Act) -> None:
        with self._deed(act, "other"):
            self.sandbox.expire(email(act.who))

    def revoke(self, act: Act) -> None:
        with self._deed(act, "other"):
            self.sandbox.revoke(email(act.who))

    def deny(self, act: Act) -> None:
        """Google says that the grant is dead, once."""
        with self._deed(act, "other"):
            details = {"behaviour": {"kind": "error", "name": act.details["name"]}, "times": 1}
            self.trouble_tokens(Act(act.at, act.what, act.who, details))
            self.sandbox.expire(email(act.who))

    # -- a person's side --

    def sign_in(self, act: Act) -> None:
        with self._deed(act, "back"):
            for _ in range(TRIES):
                grant = self.sandbox.grant(email(act.who))
                if self.admin("POST", "/api/accounts", {"refresh_token": grant.refresh_token}):
                    return

    def sign_in_by_hand(self, act: Act) -> None:
        with self._deed(act, "back"):
            grant = self.sandbox.grant(email(act.who))
            self._edit(act.who, lambda one: one["token"].update(refresh_token=grant.refresh_token))

    def verify(self, act: Act) -> None:
        with self._deed(act, "back"):
            self.admin("POST", f"/api/accounts/{act.who}/verify")

    def pause(self, act: Act) -> None:
        with self._deed(act, "out"):
            self.admin("POST", f"/api/accounts/{act.who}/pause", {"reason": "chaos"})

    def resume(self, act: Act) -> None:
        with self._deed(act, "back"):
            self.admin("POST", f"/api/accounts/{act.who}/resume")

    def pause_by_hand(self, act: Act) -> None:
        with self._deed(act, "other"):
            self._edit(act.who, lambda one: one.update(proxy_disabled=True))
            seen = self._sees(act.who, paused=True)
        if seen:
            self.diary.deeds.append(Deed(act.who, act.what, "out", time.time(), time.time()))

    def resume_by_hand(self, act: Act) -> None:
        with self._deed(act, "back"):
            self._edit(act.who, lambda one: [one.pop(key, None) for key in list(one) if "proxy_dis" in key])
            if not self._sees(act.who, paused=False):
                self.admin("POST", f"/api/accounts/{act.who}/resume")

    def label_by_hand(self, act: Act) -> None:
        with self._deed(act, "other"):
            self._edit(act.who, lambda one: one.update(label=f"at {act.at:.1f}", kept_by="a user"))

    def _edit(self, who: str, change: Any) -> None:
        hand_edit(self.data_dir, who, change)

    def _sees(self, who: str, *, paused: bool) -> bool:
        """Whether the gateway has taken a hand edit in; its own writing at the same moment may have undone it."""
        end = time.monotonic() + SEEN_S
        while time.monotonic() < end:
            if ("proxy_disabled" in self.admin("GET", f"/api/accounts/{who}")) == paused:
                return True
            time.sleep(0.05)
        return False
