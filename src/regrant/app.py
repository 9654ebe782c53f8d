"""The composition root: the only place that names concrete classes and puts the parts together.

`build` makes an `App` from settings; `App.start` brings it to life, `App.close` ends it with nothing lost. `App.answer`
gives the gateway its routes and everything under `/api` to the back office, which is imported when it is first needed.
"""

from __future__ import annotations

import asyncio
import functools
import zoneinfo
from collections.abc import Callable

from regrant import __version__, logs
from regrant.accounts.clock_skew import ClockSkew
from regrant.accounts.enrolment import Defaults, Enrolment
from regrant.accounts.file_store import FileLock, FileStore
from regrant.accounts.graveyard import Graveyard
from regrant.accounts.incident_watch import IncidentWatch
from regrant.accounts.keeper import Keeper
from regrant.accounts.refresher import GoogleRefresher
from regrant.accounts.signin import SignIns
from regrant.accounts.store import AccountStore
from regrant.admin.token import ensure_token
from regrant.clock import Clock, SystemClock
from regrant.dialects import anthropic, openai_chat
from regrant.dialects.base import ServerDialect
from regrant.errors import SettingsError
from regrant.gateway.calls import Calls
from regrant.gateway.chat import ChatService
from regrant.gateway.claude import ClaudeRelay
from regrant.gateway.counting import CountService
from regrant.gateway.identity import new_request_id
from regrant.gateway.key_file import KeyFile, KeysError
from regrant.gateway.keys import KeyRing, ring_of
from regrant.gateway.messages_api import MessagesApi
from regrant.gateway.offer import Offer
from regrant.gateway.pictures import Pictures
from regrant.gateway.pipeline import Pipeline
from regrant.gateway.relay import GeminiRelay
from regrant.gateway.routes import Action
from regrant.gateway.server import Gateway
from regrant.gateway.signatures import SignatureStore
from regrant.listener import asgi
from regrant.listener.asgi import Asgi
from regrant.listener.conversation import Conversation
from regrant.notify.alerts import Alerts
from regrant.oauth.client import GoogleOAuth
from regrant.oauth.google import OAuthClient
from regrant.pool.appeal import appeal_text
from regrant.pool.arrangement import arrange, grouping_of
from regrant.pool.cooldown import Cooldown, CooldownKey
from regrant.pool.members import Members
from regrant.pool.pool import Pool
from regrant.pool.quota import Rules
from regrant.pool.quota_cloud import CloudReader
from regrant.pool.quota_guard import QuotaGuard
from regrant.pool.sharing import SharedCooldowns
from regrant.pool.strategies.sticky import Sticky
from regrant.secret import Secret
from regrant.settings import Settings
from regrant.settings.live import LiveSettings, OAuthEndpoints
from regrant.settings.model import Quota
from regrant.state import StateDatabase
from regrant.traffic import schema as traffic_schema
from regrant.traffic.exchange import Exchange
from regrant.traffic.ledger import Ledger
from regrant.traffic.log import TrafficLog
from regrant.traffic.metrics import Metrics, Views
from regrant.traffic.recorder import Recorder
from regrant.transport.addresses import is_public
from regrant.transport.client import HttpClient
from regrant.transport.live import LiveTransport, connections_of
from regrant.transport.model import Transport

FOLLOW_FILES_S = 0.5

log = logs.get("app")


class App:
    """One gateway process. The parts are public: the back office and the command line work on them."""

    def __init__(
        self,
        settings: LiveSettings,
        *,
        clock: Clock,
        store: AccountStore,
        transport: Transport,
        ledger: Ledger | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.transport = transport
        self.traffic = TrafficLog(
            settings.data_dir / traffic_schema.FILE,
            clock,
            limits=lambda: settings().traffic,
            secrets=self._known_secrets,
            report=log.warning,
        )
        self.recorder = Recorder(clock)
        self._make_accounts(store)
        self._make_pool()
        self._make_gateway()
        self.incidents = self._make_incidents()
        self.metrics = Metrics(self.recorder, self._views(), ledger)
        self.alerts = Alerts(
            settings.data_dir / "state.sqlite3",
            lambda: settings().notify.webhooks,
            transport=transport,
            clock=clock,
        )
        # Whoever follows the process: the console's event stream, metrics. None of them may block or raise.
        self.exchange_listeners: list[Callable[[Exchange], None]] = [
            self.recorder.exchanges.append,
            self._count_tokens,
        ]
        self.settings_listeners: list[Callable[[list[str]], None]] = []
        self.closing_listeners: list[Callable[[], None]] = []
        self.address = ""
        """Where the process listens, once it does: `http://127.0.0.1:8045`."""
        self._office: Asgi | None = None
        self._importing: asyncio.Lock | None = None

    def _make_accounts(self, store: AccountStore) -> None:
        settings, clock = self.settings, self.clock
        self.state = StateDatabase(settings.data_dir / "state.sqlite3", clock, report=_report_state)
        self.key_file = KeyFile(settings.data_dir, clock)
        self.keys = KeyRing()
        self.graveyard = Graveyard(self.state)
        self.clock_skew = ClockSkew(clock)
        self.oauth = GoogleOAuth(
            self.transport,
            OAuthEndpoints(settings),
            on_refresh=self.recorder.refresh_answered,
            on_date=self.clock_skew.measured,
        )
        self.keeper = Keeper(
            store,
            GoogleRefresher(self.oauth, self.oauth_clients),
            clock=clock,
            idle_check_s=lambda: settings().google.idle_check_days * 86_400,
            remember_death=self.graveyard.bury,
        )
        self.enrolment = Enrolment(
            self.keeper,
            self.oauth,
            clients=self.oauth_clients,
            defaults=self._defaults,
            tombstones=self.graveyard,
        )
        self.signins = SignIns(
            self.enrolment,
            self.oauth,
            clients=self.oauth_clients,
            authorize_endpoint=lambda: settings().google.endpoints.authorize,
            scopes=lambda: settings().google.scopes,
            clock=clock,
        )

    def _make_pool(self) -> None:
        settings, clock = self.settings, self.clock
        self.shared_cooldowns = SharedCooldowns(self.state)
        self.pool = Pool(
            clock,
            Sticky(),
            on_cooldown=self._cooldown_changed,
            trial_after_s=lambda: settings().pool.attention_retry_s,
        )
        arrange(self.pool, settings().pool)
        self.pool.appeal.listeners.append(_report_waiting)
        self.members = Members(
            self.pool,
            lambda: settings().google.client_id,
            self._pool_changed,
            lambda: grouping_of(settings().pool),
        )
        self.quota = QuotaGuard(
            self.keeper,
            self.pool,
            self.state,
            clock=clock,
            rules=lambda: _quota_rules(settings().quota),
            default_client_id=lambda: settings().google.client_id,
        )
        self.cloud_quotas = CloudReader(
            self.quota,
            self.keeper,
            self.transport,
            self.state,
            clock=clock,
            wanted=lambda: settings().quota.read_cloud,
            endpoints=lambda: settings().google.endpoints,
        )
        self.pipeline = Pipeline(
            self.keeper,
            self.pool,
            self.transport,
            clock=clock,
            limits=lambda: settings().pool,
            quota_zone=lambda: _zone(settings().quota.timezone),
            quota=self.quota,
            vertex_base=lambda: settings().google.endpoints.vertex,
        )

    def _make_gateway(self) -> None:
        settings, clock = self.settings, self.clock
        self.signatures = SignatureStore(self.state, clock)
        calls = Calls(self.keeper, settings)
        self.offer = Offer(self.pipeline, calls, self.pool, settings=settings, clock=clock)
        pictures = Pictures(self._reach_out, wanted=lambda: settings().models.fetch_images)

        def chat(dialect: ServerDialect) -> ChatService:
            return ChatService(
                dialect, self.pipeline, calls, self.offer, signatures=self.signatures, pictures=pictures
            )

        count = CountService(anthropic, self.pipeline, calls, self.offer, pictures)
        claude = ClaudeRelay(self.pipeline, calls, self.pool, clock)
        self.gateway = Gateway(
            {
                Action.CHAT: chat(openai_chat),
                Action.MESSAGES: MessagesApi(claude, chat(anthropic), self.offer),
                Action.COUNT_TOKENS: MessagesApi(claude, count, self.offer, counting=True),
                Action.GEMINI: GeminiRelay(self.pipeline, calls, self.offer),
            },
            self.offer,
            self,
            settings=settings,
            keys=lambda: self.keys,
            on_exchange=self._tell_exchange,
            metrics=self._scrape,
        )

    def _views(self) -> Views:
        return Views(
            keeper=self.keeper,
            pool=self.pool,
            default_client_id=lambda: self.settings().google.client_id,
            in_flight=lambda: self.gateway.in_flight,
            connections=lambda: connections_of(self.transport),
            incidents=lambda: self.incidents.open_count,
            traffic_queue=lambda: (self.traffic.queued, self.traffic.dropped),
        )

    async def _scrape(self, accept: str) -> tuple[str, bytes]:
        return await self.metrics.scrape(accept)

    def _make_incidents(self) -> IncidentWatch:
        return IncidentWatch(
            self.clock,
            lambda: self.settings().google.client_id,
            state=self.state,
            lock=FileLock(self.settings.data_dir / "locks" / "incidents.lock"),
            entries=self.keeper.entries,
            serving=self,
            clock_skew=self.clock_skew,
        )

    async def start(self) -> None:
        """Load accounts and keys, fill the pool, and follow what others change."""
        await asyncio.to_thread(ensure_token, self.settings.data_dir)
        self.load_keys()
        self.alerts.start()
        self.incidents.listeners.append(self.alerts.incident_changed)
        self.traffic.start()
        self.exchange_listeners.append(self.traffic.record)
        await self.keeper.start()
        self.members.fill(self.keeper.entries())
        self.keeper.listen(self.members)
        await self.quota.start()
        self.keeper.keep_running(self.cloud_quotas.follow, "read quotas from Google")
        self.keeper.listen(self.incidents)
        self.exchange_listeners.append(self.incidents.exchange_finished)
        await self.incidents.start()
        self.keeper.keep_running(self.incidents.follow, "watch for incidents")
        self.keeper.listen(self.recorder)
        self.metrics.start()
        self.keeper.keep_running(self.metrics.publish, "share metrics")
        self.keeper.keep_running(lambda: self.shared_cooldowns.follow(self.pool), "follow cool-downs")
        await self.signatures.take_in()
        self.keeper.keep_running(self.signatures.follow, "follow thought signatures")
        self.keeper.keep_running(self._follow_files, "follow settings and keys")

    def begin_close(self) -> None:
        """The process is about to end: streams that would go on for ever end now, so that draining can finish."""
        for listener in self.closing_listeners:
            listener()

    async def close(self) -> None:
        """End: refreshes in flight are waited for, everything is written."""
        self.begin_close()
        await self.keeper.close()
        await self.metrics.close()
        await self.alerts.close()
        await self.transport.close()
        await self.incidents.close()
        self.quota.flush()
        await asyncio.to_thread(self.traffic.close)
        await asyncio.to_thread(self.state.close)

    async def _follow_files(self) -> None:
        while True:
            await asyncio.sleep(FOLLOW_FILES_S)
            if self.settings.changed():
                self.reload_settings()
            if self.key_file.changed():
                self.load_keys()

    def reload_settings(self) -> None:
        """Apply config.toml as it is now; what is wrong is logged and changes nothing."""
        before = self.settings()
        try:
            waiting = self.settings.reload()
        except SettingsError as error:
            problems = "; ".join(error.problems)
            log.error("settings_refused", f"config.toml is wrong, the settings stay as they are: {problems}")
            return
        logs.configure(self.settings().log, self.settings.data_dir)
        self.load_keys()
        self._follow_settings(before)
        text = (
            f"settings changed; a restart is needed for: {', '.join(waiting)}"
            if waiting
            else "settings changed"
        )
        log.info("settings_changed", text)
        for listener in self.settings_listeners:
            listener(waiting)

    def _follow_settings(self, before: Settings) -> None:
        """Bring the parts in line that do not read their settings at each use."""
        now = self.settings()
        self.members.fill(self.keeper.entries())
        self.offer.discovery.forget()
        self.alerts.settings_changed()
        if now.pool != before.pool:
            arrange(self.pool, now.pool, before.pool)
        if now.quota != before.quota:
            self.quota.follow_settings()
        if now.network != before.network and isinstance(self.transport, LiveTransport):
            self._follow_network(self.transport)

    def _follow_network(self, transport: LiveTransport) -> None:
        try:
            transport.swap(http_client(self.settings))
        except SettingsError as error:  # a file of certificates, say, that is not there
            problems = "; ".join(error.problems)
            log.error("settings_refused", f"the network settings stay as they were: {problems}")

    def _pool_changed(self) -> None:
        """Other accounts may see other models."""
        self.offer.discovery.forget()

    def load_keys(self) -> None:
        """Take the client keys as they are on disk; an unreadable file leaves the last good ones."""
        try:
            self.key_file.load()
        except KeysError as error:
            log.error("keys_unreadable", f"the client keys stay as they were: {error}")
        self.keys = ring_of(self.key_file.keys, self.settings().server.api_key)

    def _cooldown_changed(self, key: CooldownKey, cooldown: Cooldown | None) -> None:
        self.shared_cooldowns.publish(key, cooldown)
        self.recorder.cooldown_changed(key, cooldown)

    def _tell_exchange(self, exchange: Exchange) -> None:
        for listener in self.exchange_listeners:
            listener(exchange)

    def _count_tokens(self, exchange: Exchange) -> None:
        if exchange.usage is not None and exchange.attempts:
            served = exchange.attempts[-1]
            self.quota.answered(served.account_id, exchange.served_model, exchange.usage.input_tokens)

    def can_serve(self) -> bool:
        """Whether any account may be chosen for some model."""
        return any(True for _ in self.pool.candidates)

    def reasons(self) -> dict[str, int]:
        """How many accounts are out of the pool, by reason."""
        counted = {reason.value: count for reason, count in self.pool.absences.items()}
        corrupt = len(self.keeper.corrupt())
        return counted | ({"corrupt": corrupt} if corrupt else {})

    def _known_secrets(self) -> list[Secret]:
        """Secrets of ours that a text from outside might quote."""
        settings = self.settings()
        return [settings.server.api_key, *(one.client_secret for one in self.oauth_clients().values())]

    def oauth_clients(self) -> dict[str, OAuthClient]:
        configured = self.settings().google.oauth_clients().values()
        return {one.client_id: OAuthClient(one.client_id, one.client_secret, one.name) for one in configured}

    def _reach_out(self) -> Transport:
        """A client for addresses that strangers name: the public internet and nothing else."""
        network = self.settings().network
        return HttpClient(
            ca_file=network.ca_file,
            proxy=network.proxy.reveal(),
            environment=self.settings.environ,
            user_agent=f"regrant/{__version__}",
            admits=is_public,
        )

    def _defaults(self) -> Defaults:
        google = self.settings().google
        return Defaults(google.project_id, google.upstream, google.location, google.scopes)

    async def answer(self, conversation: Conversation) -> None:
        """Every request: the back office under /api and for the browser's return from Google, else the gateway."""
        path = conversation.path
        if path.startswith("/v1"):
            await self.gateway.answer(conversation)
        elif (
            path.startswith("/api/") and not path.startswith(("/api/hello", "/api/event_logging"))
        ) or path == "/oauth/callback":
            name = f"x-request-id: {new_request_id(self.clock.now())}\r\n".encode()
            await asgi.run(await self._back_office(), conversation, extra=name)
        else:
            await self.gateway.answer(conversation)

    async def _back_office(self) -> Asgi:
        if self._office is None:
            self._importing = self._importing or asyncio.Lock()
            async with self._importing:
                if self._office is None:
                    # Imported in a thread: it takes a while, and requests go on meanwhile.
                    self._office = await asyncio.to_thread(self._make_office)
        return self._office

    def _make_office(self) -> Asgi:
        from regrant.admin import make_office

        return make_office(self)


def http_client(settings: LiveSettings) -> HttpClient:
    """The client for all outgoing calls, as the settings want it now. Raises SettingsError."""
    network = settings().network
    return HttpClient(
        ca_file=network.ca_file,
        proxy=network.proxy.reveal(),
        environment=settings.environ,
        user_agent=f"regrant/{__version__}",
    )


def build(
    settings: LiveSettings,
    *,
    clock: Clock | None = None,
    store: AccountStore | None = None,
    transport: Transport | None = None,
    ledger: Ledger | None = None,
) -> App:
    """Put a gateway together. What is not given is the real thing; `ledger` only where it is one of several processes."""
    files = FileStore(settings.data_dir)
    files.prepare()
    client = transport or LiveTransport(http_client(settings))
    return App(settings, clock=clock or SystemClock(), store=store or files, transport=client, ledger=ledger)


def _quota_rules(quota: Quota) -> Rules:
    return Rules(
        protection=quota.protection, reserve=quota.reserve, zone=_zone(quota.timezone), limits=quota.limits
    )


@functools.cache
def _zone(name: str) -> zoneinfo.ZoneInfo:
    return zoneinfo.ZoneInfo(name)


def _report_waiting(count: int) -> None:
    if count:
        log.warning("requests_waiting", appeal_text(count), count=count)


def _report_state(sentence: str) -> None:
    log.warning("state_not_shared", sentence)
