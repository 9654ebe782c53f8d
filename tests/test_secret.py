"""A secret is seen only where somebody asks for it by name."""

from __future__ import annotations

import json
import pickle

import pytest

from regrant.secret import MASK, Secret, redact

VALUE = "refresh-ann-1"


@pytest.mark.parametrize(
    "shown",
    [
        str(Secret(VALUE)),
        repr(Secret(VALUE)),
        f"{Secret(VALUE)}",
        f"{Secret(VALUE):>40}",
        f"{[Secret(VALUE)]}",
    ],
)
def test_a_secret_hides_in_every_form(shown: str) -> None:
    assert VALUE not in shown
    assert MASK in shown


def test_an_empty_secret_shows_nothing_and_counts_as_absent() -> None:
    assert str(Secret()) == ""
    assert not Secret()


def test_a_secret_is_neither_pickled_nor_written_as_json() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret(VALUE))
    with pytest.raises(TypeError):
        json.dumps({"token": Secret(VALUE)})


def test_equal_values_are_equal_and_a_text_is_no_secret() -> None:
    assert Secret(VALUE) == Secret(VALUE)
    assert Secret(VALUE) != Secret("other-value")
    assert Secret(VALUE) != VALUE
    assert len({Secret(VALUE), Secret(VALUE)}) == 1


def test_a_fingerprint_tells_values_apart_without_showing_them() -> None:
    assert Secret(VALUE).fingerprint() == Secret(VALUE).fingerprint() != Secret("other-value").fingerprint()
    assert VALUE not in Secret(VALUE).fingerprint()
    assert Secret().fingerprint() == ""


def test_redaction_masks_the_longer_of_two_secrets_that_begin_alike() -> None:
    secrets = [Secret("refresh-ann"), Secret("refresh-ann-1-long")]
    assert redact("token refresh-ann-1-long and refresh-ann", secrets) == f"token {MASK} and {MASK}"


def test_a_word_of_three_letters_is_no_secret_to_redact() -> None:
    assert redact("the cat sat", [Secret("cat"), Secret()]) == "the cat sat"
