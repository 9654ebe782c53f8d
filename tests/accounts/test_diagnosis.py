"""Why a grant died, and what is said about it."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace as changed

from regrant.accounts.diagnosis import DAY_S, advise, diagnose, reason_text
from regrant.accounts.model import Account, Attention, Cause, Disablement, Pause, Token
from regrant.oauth.google import RefusalKind, Refused
from regrant.secret import Secret

NOW = 1_800_000_000
WEEK_S = 604_800
ANN = Account(
    id="ann",
    email="ann@example.com",
    last_refresh_at=NOW - DAY_S,
    token=Token(refresh_token=Secret("refresh-ann-1"), access_token=Secret("access-ann-1")),
)
REVOKED = Refused(RefusalKind.invalid_grant, 400, "invalid_grant", "", "Token has been expired or revoked.")


def granted(*, ago: float | None = None, lasts: float | None = None) -> Account:
    """Consent seen `ago` seconds before now, known to last for `lasts` seconds from then."""
    consented_at = None if ago is None else int(NOW - ago)
    expires_at = None if lasts is None else int(NOW - (ago or 0) + lasts)
    return changed(
        ANN, token=changed(ANN.token, consented_at=consented_at, refresh_token_expires_at=expires_at)
    )


def unused_for(seconds: int) -> Account:
    return changed(ANN, last_refresh_at=NOW - seconds)


class TestTheCause:
    @pytest.mark.parametrize(
        ("account", "refused", "cause"),
        [
            pytest.param(ANN, REVOKED, Cause.REVOKED, id="nothing known"),
            pytest.param(
                ANN,
                msgspec.structs.replace(REVOKED, subtype="invalid_rapt"),
                Cause.REAUTH_REQUIRED,
                id="invalid_rapt",
            ),
            pytest.param(
                ANN,
                msgspec.structs.replace(REVOKED, subtype="rapt_required"),
                Cause.REAUTH_REQUIRED,
                id="rapt",
            ),
            pytest.param(
                ANN, msgspec.structs.replace(REVOKED, subtype="other"), Cause.REVOKED, id="other subtype"
            ),
            pytest.param(
                ANN,
                msgspec.structs.replace(REVOKED, description="mind invalid_rapt"),
                Cause.REVOKED,
                id="subtype in words",
            ),
            *(
                pytest.param(
                    ANN, msgspec.structs.replace(REVOKED, description=text), Cause.ACCOUNT_GONE, id=text
                )
                for text in (
                    "Account has been deleted",
                    "The account has been deleted",
                    "account was disabled.",
                    "Account disabled",
                    "The user account is currently disabled",
                )
            ),
            *(
                pytest.param(ANN, msgspec.structs.replace(REVOKED, description=text), Cause.REVOKED, id=text)
                for text in (
                    "The client was deleted",
                    "Bad Request",
                    "",
                    "Unknown account. The client is disabled",
                    "accountant was deleted",
                )
            ),
            # Consent seen 6.5 to 8 days ago, lifetime unknown
            pytest.param(granted(ago=6.5 * DAY_S - 1), REVOKED, Cause.REVOKED, id="just below 6.5 days"),
            pytest.param(granted(ago=6.5 * DAY_S), REVOKED, Cause.TESTING_EXPIRED, id="6.5 days"),
            pytest.param(granted(ago=8 * DAY_S), REVOKED, Cause.TESTING_EXPIRED, id="8 days"),
            pytest.param(granted(ago=8 * DAY_S + 1), REVOKED, Cause.REVOKED, id="just over 8 days"),
            # A known lifetime of a week, give or take a minute, and over
            *(
                pytest.param(
                    granted(ago=20 * DAY_S, lasts=WEEK_S + off), REVOKED, cause, id=f"week {off:+} s, over"
                )
                for off, cause in [
                    (-61, Cause.TIME_LIMITED),
                    (-60, Cause.TESTING_EXPIRED),
                    (-59, Cause.TESTING_EXPIRED),
                    (0, Cause.TESTING_EXPIRED),
                    (59, Cause.TESTING_EXPIRED),
                    (60, Cause.TESTING_EXPIRED),
                    (61, Cause.TIME_LIMITED),
                ]
            ),
            pytest.param(
                granted(ago=WEEK_S, lasts=WEEK_S), REVOKED, Cause.TESTING_EXPIRED, id="over this second"
            ),
            pytest.param(granted(ago=5 * DAY_S, lasts=WEEK_S), REVOKED, Cause.REVOKED, id="week not over"),
            pytest.param(
                granted(ago=6.6 * DAY_S, lasts=WEEK_S), REVOKED, Cause.TESTING_EXPIRED, id="week almost over"
            ),
            pytest.param(
                granted(lasts=0), REVOKED, Cause.TIME_LIMITED, id="consent unseen, over this second"
            ),
            pytest.param(granted(lasts=1), REVOKED, Cause.REVOKED, id="consent unseen, over in a second"),
            pytest.param(
                granted(ago=3600, lasts=3600), REVOKED, Cause.TIME_LIMITED, id="granted for an hour"
            ),
            # Unused
            pytest.param(unused_for(180 * DAY_S - 1), REVOKED, Cause.REVOKED, id="just below 180 days"),
            pytest.param(unused_for(180 * DAY_S), REVOKED, Cause.UNUSED, id="180 days"),
            pytest.param(changed(ANN, last_refresh_at=0), REVOKED, Cause.REVOKED, id="never refreshed"),
        ],
    )
    def test_each_piece_of_evidence_has_its_cause(
        self, account: Account, refused: Refused, cause: Cause
    ) -> None:
        assert diagnose(account, refused, NOW) is cause

    def test_the_first_row_that_fits_wins(self) -> None:
        evidence = changed(granted(ago=7 * DAY_S, lasts=WEEK_S), last_refresh_at=NOW - 200 * DAY_S)
        gone = msgspec.structs.replace(REVOKED, description="Account has been deleted")
        assert (
            diagnose(evidence, msgspec.structs.replace(gone, subtype="invalid_rapt"), NOW)
            is Cause.REAUTH_REQUIRED
        )
        assert diagnose(evidence, gone, NOW) is Cause.ACCOUNT_GONE
        assert diagnose(evidence, REVOKED, NOW) is Cause.TESTING_EXPIRED
        limited = changed(evidence, token=changed(evidence.token, consented_at=NOW - 100 * DAY_S))
        assert diagnose(limited, REVOKED, NOW) is Cause.TIME_LIMITED
        unused = changed(limited, token=changed(limited.token, refresh_token_expires_at=None))
        assert diagnose(unused, REVOKED, NOW) is Cause.UNUSED


class TestTheReason:
    def test_it_begins_with_the_error_and_says_what_google_said(self) -> None:
        assert reason_text(REVOKED, ()) == "invalid_grant: Token has been expired or revoked."

    def test_it_is_never_empty_behind_the_error(self) -> None:
        assert (
            reason_text(msgspec.structs.replace(REVOKED, description=""), ())
            == "invalid_grant: no description"
        )

    def test_it_names_the_subtype_once(self) -> None:
        assert reason_text(msgspec.structs.replace(REVOKED, subtype="invalid_rapt"), ()).endswith(
            "revoked. (invalid_rapt)"
        )
        said = msgspec.structs.replace(REVOKED, subtype="invalid_rapt", description="reauth (invalid_rapt)")
        assert reason_text(said, ()) == "invalid_grant: reauth (invalid_rapt)"

    @pytest.mark.parametrize("letter", ["x", "ä", "𝄞", "👩‍🚀", "e\u0301"])
    def test_it_is_cut_at_800_characters_with_a_mark(self, letter: str) -> None:
        prefix = "invalid_grant: "
        exact = (letter * 800)[: 800 - len(prefix)]
        assert reason_text(msgspec.structs.replace(REVOKED, description=exact), ()) == prefix + exact
        cut = reason_text(msgspec.structs.replace(REVOKED, description=exact + "!"), ())
        assert len(cut) == 800
        assert cut == (prefix + exact)[:799] + "…"
        assert cut.encode("utf-8").decode("utf-8") == cut

    def test_secrets_are_masked_before_the_cut(self) -> None:
        """Otherwise the first half of a token would be left at the end."""
        text = "y" * 775 + "refresh-ann-1 and more"
        reason = reason_text(msgspec.structs.replace(REVOKED, description=text), ANN.secrets)
        assert "refresh" not in reason
        assert len(reason) <= 800

    def test_secrets_and_what_looks_like_one_are_masked(self) -> None:
        shaped = "y" + "a29.shape-of-a-token"
        text = f"refresh-ann-1, access-ann-1, {shaped}"
        reason = reason_text(msgspec.structs.replace(REVOKED, description=text), ANN.secrets)
        assert reason == "invalid_grant: [secret], [secret], [secret]"

    def test_a_token_that_is_a_word_of_the_error_does_not_spoil_the_prefix(self) -> None:
        assert reason_text(REVOKED, (Secret("grant"),)).startswith("invalid_grant: ")


class TestTheAdvice:
    def test_every_cause_has_words_a_link_and_a_command(self) -> None:
        texts = set()
        for cause in Cause:
            dead = changed(ANN, disabled=Disablement(at=NOW, reason="invalid_grant: x", cause=cause))
            advice = advise(dead)
            assert advice is not None
            assert advice.url.startswith("https://")
            assert advice.command.startswith("regrant accounts re")
            assert advice.command.endswith(" ann@example.com")
            texts.add(advice.text)
        assert len(texts) == len(Cause)

    def test_a_cause_of_a_later_version_is_explained_as_revoked(self) -> None:
        dead = Disablement(at=NOW, reason="invalid_grant: x", cause="eaten")
        advice = advise(changed(ANN, disabled=dead))
        assert advice is not None
        assert "Google does not tell these apart" in advice.text

    def test_absence_is_explained_in_the_order_of_the_contract(self) -> None:
        everything = changed(
            ANN,
            disabled=Disablement(at=NOW, reason="invalid_grant: x", cause=Cause.TESTING_EXPIRED),
            protected_models=("gemini-pro",),
            paused=Pause(at=NOW),
            attention=Attention(code="wrong_client", message="Another client", since=NOW),
        )
        said = []
        for part in ("disabled", "protected_models", "paused", "attention"):
            advice = advise(everything)
            assert advice is not None
            said.append(advice.text.split()[0])
            everything = changed(everything, **{part: () if part == "protected_models" else None})
        assert said == ["The", "Quota", "Paused", "Another"]
        assert advise(everything) is None

    def test_an_administrators_policy_has_no_command(self) -> None:
        advice = advise(changed(ANN, attention=Attention(code="admin_policy", message="No", since=NOW)))
        assert advice is not None
        assert advice.command == ""
