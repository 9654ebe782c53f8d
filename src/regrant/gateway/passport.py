"""The body of one request for whichever account gets it: with the thought signatures that this account can verify.

Theory of operation. A signature is only sure to be good where it was minted. A request is encoded once, with all
signatures that are known; when it goes to an account that did not mint every one of them, it is encoded again with Google's
stand-in for the others, once per mint. Should Google refuse a signature all the same, all are forgotten and the request is
repeated once: `forget_signatures`. Where signatures are kept is `signatures.py`.
"""

from __future__ import annotations

from typing import Protocol

from regrant.dialects import gemini
from regrant.dialects.base import UpstreamRequest, own_signature
from regrant.gateway.signatures import Kept, SignatureStore
from regrant.messages.model import Request, ToolCall


class Body(Protocol):
    """A request body that may depend on who gets it."""

    def shown_to(self, mint: str) -> bytes:
        """The bytes for the account that mints signatures under this name (`Kept.mint`)."""
        ...

    def forget_signatures(self) -> bool:
        """Replace what Google refused, for all accounts from now on; False when there is nothing to replace."""
        ...


class FixedBody:
    """The same for everybody."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def shown_to(self, mint: str) -> bytes:  # noqa: ARG002  part of the seam
        return self._body

    def forget_signatures(self) -> bool:
        return False


class RelayedBody:
    """A Gemini client's own bytes, left alone until Google has refused a signature in them."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def shown_to(self, mint: str) -> bytes:  # noqa: ARG002  part of the seam
        return self._body

    def forget_signatures(self) -> bool:
        before, self._body = self._body, gemini.replace_signatures(self._body)
        return self._body != before


class Passport:
    """The body of a translated request, and the book-keeper of the signatures in its answer."""

    def __init__(self, request: Request, *, model: str, store: SignatureStore, client: str) -> None:
        """`client` is the id of the client's key. Raises: DialectError, naming the part that cannot be expressed."""
        self._request = request
        self._model = model
        self._store = store
        self._client = client
        self._mints: set[str] = set()
        """Where the signatures in `encoded` come from."""
        self._forgotten = False
        self._mint = ""
        self.encoded: UpstreamRequest = gemini.encode_request(request, model=model, signatures=self._sign)
        self._bodies: dict[str, bytes] = {}

    def shown_to(self, mint: str) -> bytes:
        self._mint = mint
        if not self._mints or self._forgotten or self._mints == {mint}:
            return self.encoded.body
        body = self._bodies.get(mint)
        if body is None:
            body = self._bodies[mint] = self._encode_for(mint)
        return body

    def forget_signatures(self) -> bool:
        shown = self.shown_to(self._mint)
        clean = gemini.without_signatures(self._request)
        self.encoded = gemini.encode_request(clean, model=self._model)
        self._forgotten = True
        return self.encoded.body != shown

    def note(self, call: ToolCall) -> None:
        """Keep the signature of a tool call in the answer of the account that was shown the body last."""
        if call.signature:
            self._store.keep(self._client, call.id, call.signature, self._mint)

    def _known(self, call: ToolCall) -> Kept | None:
        """What is kept of the call, unless the client sent another signature with it."""
        kept = self._store.find(self._client, call.id)
        return kept if kept is not None and call.signature in {None, kept.signature} else None

    def _sign(self, call: ToolCall) -> str | None:
        kept = self._known(call)
        if kept is None:
            return own_signature(call)
        self._mints.add(kept.mint)
        return kept.signature

    def _encode_for(self, mint: str) -> bytes:
        def sign(call: ToolCall) -> str | None:
            kept = self._known(call)
            if kept is None:
                return own_signature(call)
            return kept.signature if kept.mint == mint else None

        return gemini.encode_request(self._request, model=self._model, signatures=sign).body
