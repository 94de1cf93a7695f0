"""Several processes on gloo within a test, without the seconds that a fresh interpreter takes for each."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import torch


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(('localhost', 0))
        return listener.getsockname()[1]


def _send(pipe: Any, ok: bool, result: Any) -> None:
    """Send by value: a tensor in shared memory would be gone with the process."""
    pipe.send_bytes(pickle.dumps((ok, result)))


def _rank(function: Callable, rank: int, world_size: int, port: int, pipe: Any, arguments: tuple) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size), MASTER_ADDR='localhost', MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    try:
        _send(pipe, True, function(*arguments))
    except BaseException as error:
        _send(pipe, False, f'{type(error).__name__}: {error}\n{traceback.format_exc()}')
    finally:
        if torch.distributed.is_initialized() and not sys.exc_info()[0]:
            torch.distributed.destroy_process_group()
    pipe.close()
    os._exit(0)  # no clean-up of what belongs to the parent


def run_ranks(function: Callable, world_size: int, *arguments: Any, timeout: float = 300) -> list[tuple[bool, Any]]:
    """Call ``function(*arguments)`` in ``world_size`` processes with the environment that torchrun would set.

    Args:
        function: A module-level function; it starts the process group itself (or has the Runner do it).
        world_size: Number of processes.
        *arguments: Passed on.
        timeout: Seconds until all processes are killed and the test fails.

    Returns:
        For every rank (True, the function's result) or (False, error and traceback as text).
    """
    context = multiprocessing.get_context('spawn' if torch.cuda.is_available() else 'fork')
    port, pipes, processes = free_port(), [], []
    for rank in range(world_size):
        receiver, sender = context.Pipe(duplex=False)
        processes.append(context.Process(target=_rank, args=(function, rank, world_size, port, sender, arguments)))
        processes[-1].start()
        sender.close()
        pipes.append(receiver)
    end, results = time.monotonic() + timeout, []
    try:
        for rank, pipe in enumerate(pipes):
            if not pipe.poll(max(0.0, end - time.monotonic())):
                raise TimeoutError(f'rank {rank} of {world_size} has not finished in {timeout} s')
            try:
                results.append(pickle.loads(pipe.recv_bytes()))
            except EOFError:
                results.append((False, f'rank {rank} died'))
    finally:
        for process in processes:
            process.join(0 if len(results) < world_size else 30)
            process.kill()
    return results


def _command(words: list[str]) -> None:
    from mmmtl.commands.main import main

    main([*words, '--launcher', 'pytorch'])


def launch(*words: object, world_size: int = 2) -> None:
    """Run an ``mmmtl`` command in several processes, as torchrun would start them."""
    for ok, error in run_ranks(_command, world_size, [*map(str, words)]):
        assert ok, error
