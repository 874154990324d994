"""A process is known by its machine, id and start, and told dead only where that is sure."""

import os
import subprocess
import sys

import psutil

from storage.processes import Process, ended, parse, this_process


def test_a_process_is_read_back_from_its_tag() -> None:
    process = this_process()
    assert parse(str(process)) == process and process.pid == os.getpid()
    assert [parse(text) for text in ("", "a-b", "abc-12-x", "seed-3")] == [None] * 4


def test_only_a_process_of_this_machine_that_is_gone_has_ended() -> None:
    mine = this_process()
    assert not ended(mine)
    assert ended(mine._replace(started=mine.started - 60)), "its id was given to another one"
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    theirs = Process(mine.machine, child.pid, round(psutil.Process(child.pid).create_time()))
    assert not ended(theirs)
    child.kill()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert ended(theirs), "killed, though its parent has not asked for its exit code yet"
    child.communicate()
    assert ended(theirs)
    assert not ended(theirs._replace(machine="0" * 12)), "of another machine nothing is known"
