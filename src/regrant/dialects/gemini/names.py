"""Tool names that Gemini accepts, and the way back to the client's own.

Source: FunctionDeclaration.name: a letter or `_`, then letters, digits and `_.:-`; 64 at most on the older models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_ACCEPTED = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")
_REFUSED = re.compile(r"[^A-Za-z0-9_.:-]")
_LIMIT = 64


class ToolNames:
    """A bijection between the names of one request and accepted ones; accepted names stay as they are."""

    def __init__(self, names: Iterable[str]) -> None:
        wanted = dict.fromkeys(names)
        self._sent = {name: name for name in wanted if _ACCEPTED.fullmatch(name)}
        self.changed: dict[str, str] = {}
        """Names as sent -> as the client knows them."""
        for name in wanted:
            if name not in self._sent:
                self._sent[name] = sent = self._invent(name)
                self.changed[sent] = name

    def sent(self, name: str) -> str:
        """The name to send for `name`, which must have been among those given."""
        return self._sent[name]

    def _invent(self, name: str) -> str:
        stem = _REFUSED.sub("_", name)
        if not stem or not (stem[0].isalpha() or stem[0] == "_"):
            stem = "_" + stem
        candidate, number = stem[:_LIMIT], 1
        while candidate in self._sent or candidate in self.changed:
            number += 1
            suffix = f"_{number}"
            candidate = stem[: _LIMIT - len(suffix)] + suffix
        return candidate


NO_TOOLS = ToolNames(())
"""For the requests without tools, which are most; a ToolNames never changes."""
