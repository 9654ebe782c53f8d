"""The signature of an alert: proof for its receiver that it comes from the owner's own gateway and is fresh.

Pure. Source: the scheme of Stripe's webhooks (https://docs.stripe.com/webhooks#verify-manually), `t` and `v1` under a
header of our own; the id header is that of Standard Webhooks
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
"""

from __future__ import annotations

import hashlib
import hmac

from regrant.secret import Secret

SIGNATURE_HEADER = b"x-regrant-signature"
ID_HEADER = b"webhook-id"


def sign(secret: Secret, at: int, body: bytes) -> str:
    """`t=<unix seconds>,v1=<hex>`: HMAC-SHA256 with `secret` over the decimal time, a dot and the body."""
    signed = b"%d." % at + body
    return f"t={at},v1={hmac.new(secret.reveal().encode(), signed, hashlib.sha256).hexdigest()}"
