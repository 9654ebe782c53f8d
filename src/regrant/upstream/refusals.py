"""Why Google refuses an account or project with 403, and what the owner does about it: one table.

How long such an account is left alone, and every other status, is in `classifier.py`.
"""

from __future__ import annotations

import re

import msgspec

from regrant.upstream.error_body import ErrorBody

_CLIENTS_RESOURCE = re.compile(
    r"access the File\b|CachedContent|\b(?:files|cachedContents|tunedModels|corpora)/|storage\.objects\.",
    re.IGNORECASE,
)
"""A 403 about something that the request names (a file of another account, a bucket) blames no account: else one client
could put the whole pool out by naming such a thing."""


class Refusal(msgspec.Struct, frozen=True):
    code: str
    project_wide: bool
    advice: str
    url: str = ""


_SERVICE = Refusal(
    "service_disabled",
    True,
    "Enable the API in the project, wait a few minutes, then verify the account.",
)
_USER_PROJECT = Refusal(
    "user_project_denied",
    False,
    "Give the account the role Service Usage Consumer (roles/serviceusage.serviceUsageConsumer) on the project.",
    "https://console.cloud.google.com/iam-admin/iam",
)
_PROJECT = Refusal(
    "project_invalid", True, "The project does not exist or is deleted; set another project_id."
)
_NO_PROJECT = Refusal(
    "quota_project_missing", False, "Set the account's project_id: this grant has no quota project."
)
_SCOPE = Refusal("scope_missing", False, "Sign in again and leave every box of Google's consent page ticked.")
_SUSPENDED = Refusal(
    "suspended", True, "Google suspended the project or account; appeal in the Google Cloud console."
)
_IAM = Refusal(
    "iam_permission_denied",
    False,
    "Give the account the role Vertex AI User (roles/aiplatform.user) on the project.",
    "https://console.cloud.google.com/iam-admin/iam",
)
_VERIFY = Refusal(
    "verify_account",
    False,
    "Google wants the owner to verify the account; open the link and follow it.",
)
_ADMIN = Refusal(
    "policy_denied",
    False,
    "A policy of the Workspace or organisation forbids this; ask its administrator.",
)
ACCOUNT_STATE = Refusal(
    "account_state",
    False,
    "Google restricts this account; sign in at myaccount.google.com and follow what it says.",
    "https://myaccount.google.com",
)
"""Also told with 401."""
_OTHER = Refusal("permission_denied", False, "Google refuses this account the model API; read the message.")

_REFUSALS = {
    "SERVICE_DISABLED": _SERVICE,
    "accessNotConfigured": _SERVICE,
    "USER_PROJECT_DENIED": _USER_PROJECT,
    "CONSUMER_INVALID": _PROJECT,
    "RESOURCE_PROJECT_INVALID": _PROJECT,
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": _SCOPE,
    "CONSUMER_SUSPENDED": _SUSPENDED,
    "GCP_SUSPENDED": _SUSPENDED,
    "IAM_PERMISSION_DENIED": _IAM,
    "VALIDATION_REQUIRED": _VERIFY,
    "USER_BLOCKED_BY_ADMIN": _ADMIN,
    "SECURITY_POLICY_VIOLATED": _ADMIN,
    "LOCATION_POLICY_VIOLATED": _ADMIN,
    "ACCOUNT_STATE_INVALID": ACCOUNT_STATE,
    "ACCOUNT_TYPE_UNSUPPORTED": ACCOUNT_STATE,
    "CREDENTIAL_TYPE_UNSUPPORTED": ACCOUNT_STATE,
}

_NO_QUOTA_PROJECT = re.compile(r"requires a quota project", re.IGNORECASE)

_REFUSAL_TEXTS: tuple[tuple[re.Pattern[str], Refusal], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), refusal)
    for pattern, refusal in (
        (_NO_QUOTA_PROJECT.pattern, _NO_PROJECT),
        (r"has not been used in project|API .*is disabled", _SERVICE),
        (r"insufficient authentication scopes", _SCOPE),
        (r"serviceusage\.services\.use|permission to use project", _USER_PROJECT),
        (r"has been suspended|project has been denied access", _SUSPENDED),
        (r"Permission denied on resource project", _PROJECT),
        (r"Permission '[\w.]+' denied on resource", _IAM),
        (r"verify your (?:google )?account", _VERIFY),
    )
)


def find_refusal(error: ErrorBody) -> Refusal | None:
    """The refusal that a 403 tells, or None when it is about something that the client's request names."""
    refusal = _REFUSALS.get(error.reason) or _by_text(error.message)
    if refusal in {_IAM, _OTHER} and _CLIENTS_RESOURCE.search(error.message):
        return None
    if refusal is _SERVICE and _NO_QUOTA_PROJECT.search(error.message):
        return (
            _NO_PROJECT  # projects of Google's own tools answer SERVICE_DISABLED for want of a quota project
        )
    return refusal


def _by_text(message: str) -> Refusal:
    return next((refusal for pattern, refusal in _REFUSAL_TEXTS if pattern.search(message)), _OTHER)
