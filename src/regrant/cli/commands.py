"""The edge of the command line: runs one command and turns whatever happens into an exit code and a sentence.

0 fine, 1 what was asked for failed, 2 usage, 130 interrupted. The commands themselves are in `main.py`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from regrant.cli.terminal import USAGE, Failure, complain, prepare_streams, silence_stdout
from regrant.errors import RegrantError, SettingsError

INTERRUPTED = 130


def run(argv: list[str]) -> int:
    """Run the command line without the program's name; the exit code. Never raises."""
    prepare_streams()
    try:
        code = _dispatch(argv)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return _explain(error)
    return code


def _dispatch(argv: Sequence[str]) -> int:
    import typer

    from regrant.cli.main import app

    try:
        result = app(args=complete_adc(argv), prog_name="regrant", standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except typer.TyperException as error:
        return _show_usage(error)
    return result if isinstance(result, int) else 0


def _show_usage(error: Exception) -> int:
    """What the parser of options has to say, or the help where nothing was asked for; on stderr."""
    show = getattr(error, "show", None)  # the base class that is public does not promise it
    if show is not None:
        show()
    else:
        complain(str(error))
    return int(getattr(error, "exit_code", USAGE))


def complete_adc(argv: Sequence[str]) -> list[str]:
    """`--adc` may stand without a file, which the parser of options does not know: it then gets an empty one."""
    completed = []
    for position, argument in enumerate(argv):
        following = argv[position + 1 : position + 2]
        alone = argument == "--adc" and (not following or following[0].startswith("--"))
        completed.append("--adc=" if alone else argument)
    return completed


def _explain(error: Exception) -> int:
    match error:
        case SettingsError():
            for problem in error.problems:
                complain(problem)
            return USAGE
        case Failure():
            complain(str(error), error.hint)
            return error.code
        case RegrantError():
            complain(str(error), getattr(error, "hint", ""))
            return 1
        case BrokenPipeError():
            silence_stdout()  # whoever read has seen enough; the parser of options ends with 1 then, too
            return 1
        case OSError():
            silence_stdout()  # it may be what cannot be written
            complain(f"{error.filename or 'the system'}: {error.strerror or type(error).__name__}")
            return 1
        case _:
            if os.environ.get("REGRANT_TRACEBACK"):
                raise error
            complain(
                f"unexpected {type(error).__name__}; this is a mistake in Regrant",
                "Please report it with what you did. REGRANT_TRACEBACK=1 shows where it happened.",
            )
            return 1
