"""How an alert is written for its receiver: our own JSON, Slack, Discord or ntfy.

Pure. Sources: Slack's incoming webhooks (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks: a
JSON object with `text`) and its escaping of `&`, `<`, `>`
(https://docs.slack.dev/messaging/formatting-message-text#escaping); Discord's Execute Webhook
(https://docs.discord.com/developers/resources/webhook#execute-webhook: `content` of up to 2,000 characters,
`allowed_mentions` with an empty `parse` pings nobody); ntfy's publishing as JSON
(https://docs.ntfy.sh/publish/#publish-as-json: a POST to the server's root that names the `topic`; priority 1 to 5) and its
limit of 4,096 bytes for a message (https://docs.ntfy.sh/publish/#limitations).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

import msgspec

from regrant.notify.alert import Alert, facts
from regrant.settings.model import Webhook

MAX_DISCORD = 2000
MAX_SLACK = 4000
"""Where Slack begins to advise against; it cuts at 40,000."""
MAX_NTFY_BYTES = 4000
_DISCORD_MARKS = re.compile(r"([\\*_~`|>#\[\]()])")
_SLACK_MARKS = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class Message(msgspec.Struct, frozen=True):
    """One POST of JSON. `url` is secret."""

    url: str
    body: bytes


def write(alert: Alert, webhook: Webhook) -> Message:
    url = webhook.url.reveal()
    match format_of(webhook):
        case "slack":
            return Message(url, msgspec.json.encode({"text": _slack(alert)}))
        case "discord":
            document = {"content": _discord(alert), "allowed_mentions": {"parse": []}}
            return Message(url, msgspec.json.encode(document))
        case "ntfy":
            root, topic = ntfy_topic(url)
            return Message(root, msgspec.json.encode(_ntfy(alert, topic)))
        case _:
            return Message(url, msgspec.json.encode(alert))


def format_of(webhook: Webhook) -> str:
    """The format that was set, or the one that the address is known for; else `json`."""
    if webhook.format != "auto":
        return webhook.format
    parts = urlsplit(webhook.url.reveal())
    host = parts.hostname or ""
    if host in {"hooks.slack.com", "hooks.slack-gov.com"}:
        return "slack"
    known_discord = ("discord.com", "discordapp.com")
    if (
        host in known_discord or host.endswith(tuple("." + one for one in known_discord))
    ) and "/webhooks/" in parts.path:
        return "discord"
    if (host == "ntfy" or host.startswith("ntfy.")) and parts.path.strip("/"):
        return "ntfy"
    return "json"


def ntfy_topic(url: str) -> tuple[str, str]:
    """The address that takes JSON, and the topic, which is the last part of the path that subscribers use."""
    parts = urlsplit(url)
    base, _, topic = parts.path.rstrip("/").rpartition("/")
    return urlunsplit((parts.scheme, parts.netloc, base + "/", parts.query, "")), topic


def _slack(alert: Alert) -> str:
    def escaped(text: str) -> str:
        return "".join(_SLACK_MARKS.get(letter, letter) for letter in text)

    url = f"<{escaped(alert.url)}>" if alert.url else ""
    command = f"`{escaped(alert.command)}`" if alert.command else ""
    head, tail = f"*{escaped(alert.title)}*", [url, command, *map(escaped, facts(alert))]
    return _fitted(head, escaped(alert.text), tail, alert, limit=MAX_SLACK, measure=len)


def _discord(alert: Alert) -> str:
    def escaped(text: str) -> str:
        return _DISCORD_MARKS.sub(r"\\\1", text)

    url = f"<{alert.url}>" if alert.url else ""
    command = f"`{alert.command}`" if alert.command else ""
    head, tail = f"**{escaped(alert.title)}**", [url, command, *map(escaped, facts(alert))]
    return _fitted(head, escaped(alert.text), tail, alert, limit=MAX_DISCORD, measure=_utf16)


def _ntfy(alert: Alert, topic: str) -> dict[str, object]:
    tail = [alert.url, alert.command, *facts(alert)]
    over = alert.phase in {"closed", "test"}
    document: dict[str, object] = {
        "topic": topic,
        "title": alert.title[:250],
        "message": _fitted("", alert.text, tail, alert, limit=MAX_NTFY_BYTES, measure=_utf8)
        or alert.title[:250],
        "priority": 3 if over or alert.severity != "critical" else 5,
        "tags": [
            "white_check_mark" if over else "rotating_light" if alert.severity == "critical" else "warning"
        ],
    }
    return document | ({"click": alert.url} if alert.url and not over else {})


def _fitted(
    head: str, text: str, tail: list[str], alert: Alert, *, limit: int, measure: Callable[[str], int]
) -> str:
    """The lines in one text of at most `limit`. The advice is cut first, as the way to mend it comes behind.

    What is over needs no advice any more.
    """
    if alert.phase == "closed":
        text, tail = "", [line for line in facts(alert) if line]
    tail = [line for line in tail if line]
    whole = "\n".join(filter(None, (head, text, *tail)))
    if measure(whole) <= limit:
        return whole
    without = "\n".join(filter(None, (head, *tail)))
    room = limit - measure(without) - 1
    if room > 1:
        return "\n".join((*filter(None, (head,)), _cut(text, room, measure), *tail))
    return _cut(without, limit, measure)


def _cut(text: str, limit: int, measure: Callable[[str], int]) -> str:
    """The beginning of `text` that fits with a `…` behind it."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if measure(text[:middle] + "…") <= limit else (low, middle - 1)
    return text[:low] + "…"


def _utf16(text: str) -> int:
    """The length as JavaScript counts it, which is never less than any other count of characters."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _utf8(text: str) -> int:
    return len(text.encode())
