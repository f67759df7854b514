"""The one exception class that commands show as a single line, and how they do."""

import errno
import io
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 128 + signal.SIGINT  # the exit code that typer makes of Ctrl-C
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UsdError(Exception):
    """Bad input. The message names the file, key or parameter, and the remedy."""


def counted(count: int, one: str, several: str | None = None) -> str:
    """How many, as a message says it: "1 query", "2 queries"; `several` is `one` with an s unless given."""
    return f"{count} {one if count == 1 else several or one + 's'}"


@contextmanager
def reported() -> Iterator[None]:
    """Around a command: bad input ends in one line and exit code 1, Ctrl-C in one line and exit code 130.

    Characters that the terminal's encoding lacks are written as escapes, instead of ending the command.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error does anyway
    try:
        yield
    except UsdError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            print("interrupted; nothing is left half done: run it again", file=sys.stderr)
        raise
    except OSError as error:
        if error.errno not in FULL:
            raise
        print(f"error: {error.filename or 'standard output'}: {error.strerror}; free some space", file=sys.stderr)
        sys.stdout = None  # what it still holds cannot be written either, and Python would say so
        sys.exit(1)
