"""How commands end: with a person's mistake told in a line, and everything else with its traceback."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from mmmtl.errors import UserError
from mmmtl.utils.command_line import accept_any_console

_FILES = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENAMETOOLONG)
_FOREIGN = (
    (
        r'Invalid device string|Expected one of cpu, cuda|not compiled with CUDA|No CUDA GPUs|NVIDIA driver',
        'device: {}',
    ),
    (r'invalid device ordinal', 'device: there is no GPU of that number: {}'),
    (r'Unknown model \(', 'timm: {} timm.list_models() has the names'),
    (r'is not in the .* registry', '{}'),
    (r'^Invalid (learning rate|beta|epsilon|weight_decay|momentum|dampening)', 'optim_wrapper.optimizer: {}'),
    (
        r'should be either all None or not None',
        'of train, val and test, each needs all of its sections (dataloader, cfg, and evaluator or optim_wrapper), or none: '
        'set the others to None, too',
    ),
    (r'CUDA out of memory', '{} Smaller batches, a smaller --max-side or model.predict_one_by_one=True need less.'),
)
"""Texts of torch's, timm's and mmengine's errors that come from a person's mistake, and how they are told."""


def run_command(command: Callable[[], Any]) -> Any:
    """Run a command of ``tools/``.

    A person's mistake (:class:`~mmmtl.errors.UserError`, a file that is not there, a device that does not exist, ...) is
    printed without traceback (set ``MMMTL_TRACEBACK=1`` to see it), and the process ends with exit status 1. Other errors
    pass through.

    Args:
        command: What to do.

    Returns:
        What ``command`` returns.
    """
    accept_any_console()
    try:
        result = command()
        wait_for_all_processes()
        return result
    except BrokenPipeError:  # whoever read the output has read enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        message = mistake_in(error)
        if message is None or os.environ.get('MMMTL_TRACEBACK') == '1':
            raise
        print(f'\nerror: {message}', file=sys.stderr)
        sys.exit(1)
    finally:
        leave_process_group()


def mistake_in(error: BaseException) -> str | None:
    """The message of a person's mistake; None for an error that is none."""
    if isinstance(error, UserError):
        return plain_message(error)
    if isinstance(error, SyntaxError) and error.filename:
        code = (error.text or '').strip()
        return f'{error.filename}, line {error.lineno}: {error.msg}{f": {code}" if code else ""}'
    if isinstance(error, _FILES) or isinstance(error, OSError) and error.errno in _DISK:
        text = plain_message(error)
        return re.sub(r'^\[Errno \d+\] ', '', text)
    if isinstance(error, ImportError) and 'install' in str(error):
        return plain_message(error)
    if isinstance(error, MemoryError):
        return f'out of memory: {error}'
    text = plain_message(error)
    for pattern, message in _FOREIGN:
        if re.search(pattern, text):
            return message.format(text.strip().splitlines()[0].strip('"\' '))
    return None


def plain_message(error: BaseException) -> str:
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
