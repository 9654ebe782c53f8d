"""What a picture or a file is, told by its name or its first bytes, and how data URLs are read.

Which media a model accepts is the affair of the dialect that speaks to it.
"""

from __future__ import annotations

from regrant.errors import DialectError
from regrant.messages.model import Media

_SIGNS = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
)
"""How the base64 of a picture begins. Some clients call every picture a JPEG."""

_EXTENSIONS = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "svg": "image/svg+xml",
    "heic": "image/heic",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
    "mp4": "video/mp4",
}


def type_of_name(name: str) -> str:
    """The media type that a file name or URL path ends in; "" when it says nothing."""
    return _EXTENSIONS.get(name.rpartition(".")[2].lower(), "")


def type_of_data(claimed: str, data: str) -> str:
    """The media type of base64 `data`: for pictures what the bytes say, else what was claimed, in lower case."""
    mime = claimed.strip().lower() or "text/plain"
    if mime.startswith("image/"):
        return next((true for sign, true in _SIGNS if data.startswith(sign)), mime)
    return mime


def is_data_url(url: str) -> bool:
    return url[:5].lower() == "data:"


def decode_data_url(url: str, where: str, name: str | None = None) -> Media:
    """`where` is the path to name in errors. Raises: DialectError for anything but base64."""
    head, comma, data = url[5:].partition(",")
    mime, _, options = head.partition(";")
    if not comma or not data or not options.lower().endswith("base64"):
        raise DialectError(f"{where} must be a data URL with base64 content.", param=where)
    return Media(mime=type_of_data(mime, data), data=data, name=name)
