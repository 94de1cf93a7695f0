"""mmengine's runners, each run under a name and in a folder of its own."""

from __future__ import annotations

import os
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.runner import Runner

_taken: set[str] = set()
"""Names of the runs of this process: logs, histories and scopes are found by them, whatever the folder."""


def own_name(folder: str, time: str) -> str:
    """A name for a run that starts at ``time``, the same on all ranks; its folder below ``folder`` is made here.

    mmengine names runs by the second: two of one second would write into the same files.
    """
    found = ['']
    if is_main_process():
        number, name = 1, time
        while not _claims(folder, name):
            number += 1
            name = f'{time}_{number}'
        found = [name]
    broadcast_object_list(found)
    _taken.add(found[0])
    return found[0]


def _claims(folder: str, name: str) -> bool:
    if name in _taken:
        return False
    try:
        os.mkdir(os.path.join(folder, name))
    except FileExistsError:
        return False
    return True


class NamedRunner(Runner):
    """mmengine's ``Runner``; two runs of one second have names and log folders of their own (``TIME`` and ``TIME_2``)."""

    _timestamp: str

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """As the base, and take a name."""
        super().setup_env(env_cfg)
        self._timestamp = own_name(self._work_dir, self._timestamp)
