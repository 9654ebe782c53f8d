"""Every relative link of the documents leads somewhere, and nothing names one machine's paths or package registries."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
ELSEWHERE = re.compile(r"[a-z]+:")

PLACES = ("/" + "work/", "/" + "root/")
"""Where somebody's checkout lies; put together here, so that this file does not find itself."""
REGISTRIES = (
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "registry" + ".npmjs",
    "--index" + "-url",
    "--find" + "-links",
)


def tracked(*suffixes: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    names = [ROOT / name for name in listed.decode().split("\0") if name]
    return [path for path in names if path.is_file() and (not suffixes or path.suffix in suffixes)]


def anchors_of(document: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = HEADING.findall(FENCE.sub("", document.read_text("utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(document: Path) -> list[str]:
    dead = []
    for link in LINK.findall(FENCE.sub("", document.read_text("utf-8"))):
        if ELSEWHERE.match(link):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name) if name else document
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors_of(target)):
            dead.append(link)
    return dead


@pytest.mark.parametrize("document", tracked(".md"), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    assert dead_links(document) == []


def test_dead_links_and_dead_anchors_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One Heading\n[a](none.md) [b](#nowhere) [c](#one-heading) [d](page.md) [e](https://example.com/x)\n"
    )
    assert dead_links(page) == ["none.md", "#nowhere"]


@pytest.mark.parametrize("words", [PLACES, REGISTRIES], ids=["places", "registries"])
def test_no_file_names_a_place_of_one_machine_or_a_registry(words: tuple[str, ...]) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in tracked()
        for word in words
        if word.encode() in path.read_bytes()
    ]
    assert found == []
