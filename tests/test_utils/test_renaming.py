"""Published names: none is lost to another one, and numbers beyond the tasks are no crash."""

from __future__ import annotations

import torch

from mmmtl.utils.renaming import rename_state


def test_of_two_keys_for_one_name_one_is_unknown():
    state = {'module.a': torch.ones(1), 'a': torch.zeros(1)}
    renamed, dropped, unknown = rename_state(state, [('a', 'b')], {})
    assert renamed['b'].item() == 1 and (dropped, unknown) == ([], ['a'])


def test_a_number_beyond_the_tasks_stays():
    state = {'head.semseg.0': torch.ones(1), 'head.3': torch.ones(1)}
    renamed, *_ = rename_state(state, [(r'head\.(\d)', r'heads.@\1'), (r'(head.*)', r'\1')], {'semseg': 'seg'})
    assert sorted(renamed) == ['head.seg.0', 'heads.@3']
