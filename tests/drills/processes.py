"""Forked processes that may be killed, stopped or crash without harm to the tests."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any


def fork(function: Callable[..., Any], *arguments: Any) -> int:
    """Call ``function`` in a forked process; return its number. Its exit status is 0, that of SystemExit, or 99."""
    pid = os.fork()
    if pid:
        return pid
    status = 99
    try:
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        function(*arguments)
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        os._exit(status)


def fork_ranks(port: int, function: Callable[..., Any], *arguments: Any) -> list[int]:
    """Call ``function`` in two forked processes with the environment that torchrun would give them."""

    def rank(number: int) -> None:
        place = dict(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE='2')
        os.environ.update(place, MASTER_ADDR='localhost', MASTER_PORT=str(port))
        function(*arguments)

    return [fork(rank, number) for number in (0, 1)]


def wait(pid: int, timeout: float = 120.0) -> int:
    """Wait for a process; its exit status, or the negative number of the signal that ended it.

    Raises:
        TimeoutError: It was still there; it has been killed.
    """
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    kill(pid)
    raise TimeoutError(f'process {pid} has not ended in {timeout} s')


def kill(pid: int) -> None:
    """End a process at once."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def wait_for(condition: Callable[[], Any], timeout: float = 120.0) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: It is still not.
    """
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError('it has not come about')
        time.sleep(0.002)
