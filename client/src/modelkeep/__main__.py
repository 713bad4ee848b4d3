"""`modelkeep`, and `python -m modelkeep`."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path


def main() -> None:
    """The command. What a parent closed is empty; a character that a terminal can't show is its number instead."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 for as long as we live
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors="backslashreplace")
    from modelkeep.cli.program import app

    app.main()


if __name__ == "__main__":
    main()
