"""The process of a command: `pas`, and `python -m flows.cli`.

The command runs in a thread, so that the main thread can answer a signal at once whatever the
command is doing: a library in the middle of a long call, or an engine with handlers of its own.
"""

import atexit
import os
import shutil
import signal
import sys
from io import TextIOWrapper
from threading import Thread
from types import FrameType

from flows.cli import main

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
# Out of the full screen, and with a cursor: what was drawn last may have left it otherwise.
_TERMINAL = b"\x1b[?1049l\x1b[?25h\r"
_OUT_OF_MEMORY = (
    "error: this process has no memory left. Give it more, end others, or lower PAS_BATCH_TOKENS "
    "and PAS_MEMORY_LIMIT; what was finished is kept for the next run.\n"
)
_LOCKED = (
    "error: another program has locked a database of the home for too long. End it, or wait, and "
    "run the command again; what was finished is kept.\n"
)
_FULL = (
    "\nerror: no space is left {where}. Make room, `pas cache gc` may help, or name "
    "another disk, and run the command again; what was finished is kept.\n"
)
# As the system, SQLite and MLflow's database say it; safetensors and pyarrow pass the first one on.
_FULL_WORDS = ("No space left on device", "disk is full", "Disk quota exceeded")
_NOTHING = 2**20  # free bytes, with which a database of a server can go no further
_code = 0


def run() -> None:
    """Run the command line and end the process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # What the terminal's encoding does not have is escaped.
            stream.reconfigure(errors="backslashreplace")
    # Registered first, so it comes last: all is said then, and to free everything by hand takes the
    # interpreter 2 s.
    atexit.register(_end)
    for name in _SIGNALS:
        if hasattr(signal, name):
            _answer(getattr(signal, name))
    command = Thread(target=_command, name="command", daemon=True)
    command.start()
    while command.is_alive():
        command.join(1.0)  # without a limit, Windows would not notice Ctrl-C


def _command() -> None:
    global _code
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(end.code + "\n")
        _code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except MemoryError:
        sys.stderr.write(_OUT_OF_MEMORY)
        _code = 1
    except BaseException as error:
        _code = 1  # also if what follows fails
        import traceback

        from storage.http import redacted

        sys.stderr.write(_known(error) or redacted(traceback.format_exc()))


def _known(error: BaseException) -> str | None:
    """Return the line for an error that says where the machine, not the command, is at fault."""
    if "database is locked" in str(error):  # by whichever library
        return _LOCKED
    where = _full_disk(error)
    return _FULL.format(where=where) if where is not None else None


def _full_disk(error: BaseException) -> str | None:
    """Say where a disk is full; None if the error has another reason."""
    from storage.settings import settings

    told: BaseException | None = error
    said = False
    while told is not None:
        if any(words in str(told) for words in _FULL_WORDS):
            if isinstance(told, OSError) and told.filename:
                return f"for {told.filename}"
            said = True
        told = told.__cause__ or told.__context__
    # Prefect's server has its database in the home, and answers only that something went wrong.
    home = settings().root
    standing = next(path for path in (home, *home.parents) if path.exists())
    if shutil.disk_usage(standing).free < _NOTHING:
        return f"on the disk of {home}"
    return "on one of the disks that it writes to" if said else None


def _answer(number: signal.Signals) -> None:
    if number.name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN:
        return  # nohup
    signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """Say so in a line, close the runs that are open, and end."""
    code = 128 + number
    serving = sys.modules.get("serving.run")
    if serving is not None and serving.drain():  # the command ends by itself
        for name in _SIGNALS:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda *_: os._exit(code))
        os.write(2, b"no new requests are taken; those that have begun are answered\n")
        return
    for name in _SIGNALS:  # a second one ends it at once
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: os._exit(code))
    if os.isatty(2):
        os.write(2, _TERMINAL)
    line = f"stopped by {signal.Signals(number).name}; what was finished is kept for the next run\n"
    os.write(2, line.encode())
    # Threads that are cut off have nothing to say that helps.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    session = sys.modules.get("flows.cli.session")
    if session is not None:
        session.leave()
    os._exit(code)


def _end() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(_code)


if __name__ == "__main__":
    run()
