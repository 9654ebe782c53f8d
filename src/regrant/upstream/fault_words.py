"""What each fault means for people, and what helps: one table for the pool, the traffic log and the commands.

Pure. What a client is told of a fault is `classifier.py`'s advice; why a 403 refuses an account is `refusals.py`.
"""

from __future__ import annotations

from typing import NamedTuple

from regrant.upstream.faults import FaultKind


class FaultWords(NamedTuple):
    """`happened` follows the account's name, `meaning` is a sentence, `advice` what a person can do and `command` what does it; "" for nothing."""

    happened: str
    meaning: str
    advice: str = ""
    command: str = ""

    def command_for(self, email: str) -> str:
        return self.command.format(email=email)


FAULT_WORDS: dict[str, FaultWords] = {
    FaultKind.TOKEN_REJECTED: FaultWords(
        "refused the access token",
        "Google did not accept the access token, though it was not over.",
        "If it comes again and again, verify the account.",
        "regrant accounts verify {email}",
    ),
    FaultKind.RATE_LIMITED: FaultWords(
        "was over its limit",
        "The project's rate limit for this model was reached. It reopens by itself; until then the project rests.",
        "If it happens often: spread the load over more projects, or ask Google for a higher quota.",
    ),
    FaultKind.SPEND_LIMIT: FaultWords(
        "was over its spending limit",
        "The project has spent what it may for now, so Google holds it back.",
        "Raise the spending limit or the usage tier of the project, or wait until it reopens.",
    ),
    FaultKind.QUOTA_PER_DAY: FaultWords(
        "had used up its day",
        "The project's daily quota for this model is used up until midnight Pacific time.",
        "Use another model or project until then, or enable billing.",
    ),
    FaultKind.NO_QUOTA: FaultWords(
        "has no quota for this model",
        "Google gives this project a limit of 0 for the model: waiting does not help.",
        "Choose another model, or enable billing for the project.",
    ),
    FaultKind.BILLING: FaultWords(
        "is out of credit",
        "The billing of the project is exhausted or switched off; the project rests until somebody acts.",
        "Top up or enable billing, then verify the account.",
        "regrant accounts verify {email}",
    ),
    FaultKind.PERMISSION: FaultWords(
        "was not permitted",
        "Google refuses this account or its project the model API. The grant itself is fine.",
        "Read what the account's attention says, and follow its link.",
        "regrant accounts show {email}",
    ),
    FaultKind.BLOCKED: FaultWords(
        "was blocked on the way",
        "Something that is not Google's API answered: a firewall, a portal, a proxy, or a block of this address.",
        "Look at the network between here and Google.",
        "regrant doctor",
    ),
    FaultKind.UNUSABLE_HERE: FaultWords(
        "cannot be used from here",
        "Google does not serve this project from the place where the gateway runs.",
        "Enable billing for the project, or use Vertex.",
    ),
    FaultKind.MODEL_NOT_ALLOWED: FaultWords(
        "may not use this model",
        "The model is not enabled in the project.",
        "Enable it in the Model Garden of the project.",
    ),
    FaultKind.OVERLOADED: FaultWords(
        "met an overloaded model", "The model was overloaded at Google, for everyone; it passes by itself."
    ),
    FaultKind.SERVER_ERROR: FaultWords(
        "met a failure of Google's", "Google failed; it usually passes in a minute."
    ),
    FaultKind.CLIENT_ERROR: FaultWords(
        "was told that the request is wrong",
        "Google refuses what the client asked for; no account could have answered it.",
        "Change the request; Google's words say what is wrong.",
    ),
    FaultKind.SIGNATURE_REFUSED: FaultWords(
        "met a thought signature that it does not know",
        "Google refused a thought signature in the conversation.",
    ),
    FaultKind.MODEL_NOT_FOUND: FaultWords(
        "does not know the model",
        "The model is unknown to this API, version or location.",
        "GET /v1/models lists those there are; on Vertex try the location `global`.",
    ),
    FaultKind.CONNECT_FAILED: FaultWords(
        "could not be reached",
        "No connection to Google came about.",
        "Check network, DNS and proxy.",
        "regrant doctor",
    ),
    FaultKind.RESET: FaultWords("lost its connection", "The connection broke before Google answered."),
    FaultKind.ANSWER_TIMEOUT: FaultWords(
        "did not answer in time",
        "Google took the request and did not answer before the deadline. It was not repeated: it may be billed.",
        "If long answers are expected: raise pool.deadline_s, or stream them.",
    ),
    FaultKind.CUT: FaultWords("broke its answer off", "Google's answer ended before it was complete."),
    FaultKind.IDLE: FaultWords(
        "fell silent",
        "Google's answer stalled for longer than pool.idle_s. It was not repeated: it may be billed.",
    ),
    FaultKind.BAD_ANSWER: FaultWords(
        "answered with something unreadable",
        "What came back is no answer of Google's: is a portal or proxy in the way?",
        "Look at the network between here and Google.",
        "regrant doctor",
    ),
    FaultKind.ACCOUNT_DIED: FaultWords(
        "turned out to be dead",
        "Google answered its token refresh with invalid_grant: the grant is dead, and the account left the pool.",
        "Sign in again.",
        "regrant accounts reauth {email}",
    ),
    FaultKind.TOKEN_UNAVAILABLE: FaultWords(
        "got no access token",
        "Google's token endpoint gave no token and no verdict; the account is kept and asked again.",
        "If it lasts, look into it.",
        "regrant doctor",
    ),
    FaultKind.TOKEN_REFUSED: FaultWords(
        "cannot be used until somebody acts",
        "Google refuses its OAuth client, or its owner took it out.",
        "See what is in its way.",
        "regrant why-not {email}",
    ),
}

STRANGE = FaultWords("failed", "This version of Regrant has no words for this fault.")


def words_of(fault: str) -> FaultWords:
    """The words for a FaultKind, also for one that a later version wrote."""
    return FAULT_WORDS.get(fault, STRANGE)
