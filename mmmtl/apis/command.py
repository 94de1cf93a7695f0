"""How commands end: with a person's mistake told in a line, and everything else with its traceback."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import Any

from mmmtl.errors import CheckpointError, ConfigError, FileError, InputError, LabelError

MISTAKES = (ConfigError, CheckpointError, InputError, LabelError, FileError, FileNotFoundError)


def run_command(command: Callable[[], Any]) -> Any:
    """Run a command of ``tools/``.

    A mistake in the config, the checkpoint or a data file is printed as it is, without traceback (set
    ``MMMTL_TRACEBACK=1`` to see it), and the process ends with exit status 1. Other errors pass through.

    Args:
        command: What to do.

    Returns:
        What ``command`` returns.
    """
    try:
        result = command()
        wait_for_all_processes()
        return result
    except MISTAKES as error:
        if os.environ.get('MMMTL_TRACEBACK') == '1':
            raise
        print(f'\nerror: {plain_message(error)}', file=sys.stderr)
        sys.exit(1)
    finally:
        leave_process_group()


def plain_message(error: Exception) -> str:
    """The message of an error, also of one that comes out of a data loader's worker wrapped in its traceback."""
    text = str(error)
    if 'Original Traceback' in text:
        return re.split(rf'\n(?:[\w.]+\.)?{type(error).__name__}: ', text)[-1].rstrip()
    return text


def wait_for_all_processes() -> None:
    """Let the processes of a distributed run end together.

    One that ends right after a collective may still have a thread of gloo at work on its result, which the end of the
    interpreter would abort; while this waits for the others, that thread finishes.
    """
    from mmengine.dist import barrier

    barrier()


def leave_process_group() -> None:
    """End the process group of a distributed run, which torch warns about otherwise."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
