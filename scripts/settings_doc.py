"""Writes docs/settings.md from the table of settings; with --check, fails when the file is not up to date."""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path

from regrant.settings import SETTINGS, Setting
from regrant.settings.values import ListOf, Record

TARGET = Path(__file__).resolve().parent.parent / "docs" / "settings.md"

INTRODUCTION = """# Settings

This page is made from the table in `src/regrant/settings/table.py` by `scripts/settings_doc.py`.

Each setting has one key. Its value is the first of these that is given:

1. a command line flag, where a command has one;
2. the environment variable named in the tables below: lists and tables as JSON, everything else as it is;
3. `config.toml` in the data folder;
4. the default.

A section with a dot in its name can also be given as a whole, as a JSON table:
`REGRANT_GOOGLE__ENDPOINTS='{"token": "http://127.0.0.1:9000/token"}'`.

The data folder is `--data-dir`, else `REGRANT_DATA_DIR`, else the platform's folder for user data.

`regrant config show` prints every value and where it comes from. `regrant config set KEY VALUE` changes `config.toml` and
keeps its comments. `regrant config check` lists every problem. Changes apply at once, except where **restart** is noted.

A variable named `REGRANT_…__…` that is no setting is an error. A key in `config.toml` that is no setting is kept, told at
start, and a problem for `regrant config check`.
"""


def render() -> str:
    parts = [INTRODUCTION]
    for section, rows in groupby(SETTINGS, lambda row: row.key.rpartition(".")[0]):
        parts.append(
            f"\n## [{section}]\n\n| key, variable | default | allowed | what it does |\n|---|---|---|---|\n"
        )
        parts.extend(render_row(row) for row in rows)
    return "".join(parts)


def render_row(row: Setting) -> str:
    name = row.key.rpartition(".")[2]
    notes = " **Restart.**" if row.restart else ""
    notes += " **Secret.**" if row.secret else ""
    default = json.dumps(row.default, ensure_ascii=False)
    cells = [
        f"`{name}`<br>`{row.environment}`",
        f"`{default}`",
        row.kind.allowed + fields(row),
        row.help + notes,
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def fields(row: Setting) -> str:
    if not (isinstance(row.kind, ListOf) and isinstance(row.kind.item, Record)):
        return ""
    return "".join(f"<br>`{name}`: {field.kind.allowed}" for name, field in row.kind.item.fields.items())


def main() -> int:
    text = render()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    print(f"{TARGET.name} is not up to date; run: python scripts/settings_doc.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
