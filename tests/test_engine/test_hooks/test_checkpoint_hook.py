"""AtomicCheckpointHook in real runs: what is kept, what a crash leaves, what a run resumes from."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmmtl.engine import AtomicCheckpointHook
from mmmtl.engine import checkpoint_files as files
from mmmtl.errors import CheckpointError
from mmmtl.utils.files import write_atomically
from tests.test_engine.toy import ToyMetric, config, train


def names(folder) -> set[str]:
    return {path.name for path in Path(folder).glob('*.pth')}


def log(folder) -> str:
    return ''.join(path.read_text() for path in sorted(Path(folder).rglob('*.log')))


def truncate(path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


class TestSaving:
    def test_keeps_the_last_and_the_best_like_mmengine(self, tmp_path):
        best = 'best_score_iter_{}.pth'.format
        ours = train(config(tmp_path / 'ours', 8, default_hooks__checkpoint__max_keep_ckpts=2))
        assert names(tmp_path / 'ours') - {best(3), best(6)} == {'iter_6.pth', 'iter_8.pth'}
        assert len(names(tmp_path / 'ours')) == 3
        assert (tmp_path / 'ours' / 'last_checkpoint').read_text() == str(tmp_path / 'ours' / 'iter_8.pth')
        hook = next(hook for hook in ours.hooks if isinstance(hook, CheckpointHook))
        assert names(tmp_path / 'ours') == {Path(hook.best_ckpt_path).name, 'iter_6.pth', 'iter_8.pth'}

    @pytest.mark.parametrize('at', [5, 4], ids=['disk full at the second save', 'at the best checkpoint'])
    def test_what_was_there_outlives_a_failed_save(self, tmp_path, monkeypatch, at):
        """With mmengine's hook the only checkpoint is deleted before the new one fails."""
        writes = []

        def put(self, data, path):
            writes.append(path)
            if len(writes) == at:
                raise OSError(28, 'No space left on device')
            write_atomically(path, data)

        monkeypatch.setattr(files.AtomicLocalBackend, 'put', put)
        scores = itertools.count()  # better at each validation (3, 6), so each replaces the best
        monkeypatch.setattr(ToyMetric, 'compute_metrics', lambda self, results: dict(score=-next(scores)))
        with pytest.raises(OSError, match='No space left'):
            train(config(tmp_path, 8, default_hooks__checkpoint__max_keep_ckpts=1))
        standing = names(tmp_path)
        assert 'best_score_iter_3.pth' in standing and any(name.startswith('iter_') for name in standing)
        assert all(files.find_corruption(tmp_path / name) is None for name in standing)
        assert files.find_corruption((tmp_path / 'last_checkpoint').read_text()) is None

    def test_mmengines_own_hook_would_have_lost_it(self, tmp_path, monkeypatch):
        """The control for the test above."""
        writes = []

        def put(self, data, path, put=files.AtomicLocalBackend.put):
            writes.append(path)
            if len(writes) == 2:
                raise OSError(28, 'No space left on device')
            put(self, data, path)

        monkeypatch.setattr(files.AtomicLocalBackend, 'put', put)
        plain = dict(type='CheckpointHook', by_epoch=False, interval=2, max_keep_ckpts=1, _delete_=True)
        with pytest.raises(OSError, match='No space left'):
            train(
                config(
                    tmp_path, 8, default_hooks__checkpoint=plain, val_dataloader=None, val_cfg=None, val_evaluator=None
                )
            )
        assert names(tmp_path) == set()

    def test_objects_stay_out(self, tmp_path):
        """The dataset's description holds a task object; the file must load without running any of its code."""
        runner = train(config(tmp_path, 2))
        loaded = torch.load(tmp_path / 'iter_2.pth', weights_only=True)
        described = loaded['meta']['dataset_meta']
        assert described['tasks'] == {'thing': 'tests.test_engine.toy.Thing'} and described['palette'].shape == (2, 3)
        assert loaded['message_hub']['runtime_info']['dataset_meta']['tasks'] == described['tasks']
        assert not isinstance(runner.train_dataloader.dataset.metainfo['tasks']['thing'], str)

    def test_no_false_alarm_about_the_dataset(self, tmp_path):
        train(config(tmp_path, 2))
        train(config(tmp_path, 4, resume=True))
        assert 'dataset metainfo from the resumed checkpoint is different' not in log(tmp_path)

    def test_own_folder_and_backend(self, tmp_path):
        hook = dict(out_dir=str(tmp_path / 'elsewhere'), backend_args=dict(backend='local'))
        train(config(tmp_path / 'run', 2, **{f'default_hooks__checkpoint__{k}': v for k, v in hook.items()}))
        assert 'iter_2.pth' in names(tmp_path / 'elsewhere' / 'run')
        (tmp_path / 'run' / 'last_checkpoint').unlink()
        resumed = train(
            config(tmp_path / 'run', 4, resume=True, **{f'default_hooks__checkpoint__{k}': v for k, v in hook.items()})
        )
        assert len(resumed.model.consumed) == 2

    def test_leftovers_are_swept(self, tmp_path):
        (tmp_path / '.iter_9.pth.part').write_bytes(b'half')
        train(config(tmp_path, 2))
        assert not list(tmp_path.glob('.*.part'))

    def test_warns_of_saves_between_updates(self, tmp_path):
        train(config(tmp_path / 'bad', 2, optim_wrapper__accumulative_counts=3))
        train(config(tmp_path / 'good', 2, optim_wrapper__accumulative_counts=2))
        assert 'fall between updates (accumulative_counts=3)' in log(tmp_path / 'bad')
        assert 'fall between updates' not in log(tmp_path / 'good')


class TestResuming:
    @pytest.fixture()
    def run(self, tmp_path):
        train(
            config(tmp_path, 6, default_hooks__checkpoint__max_keep_ckpts=-1, default_hooks__checkpoint__save_best=None)
        )
        return tmp_path

    def resume(self, folder, **changes) -> Runner:
        return train(config(folder, 8, resume=True, **changes))

    def test_passes_over_damaged_files(self, run):
        truncate(run / 'iter_6.pth')
        (run / 'iter_4.pth').write_bytes(b'')
        resumed = self.resume(run)
        assert resumed.model.consumed[0] == [6, 7, 8]
        text = log(run)
        assert f'Passing over the checkpoint {run}/iter_6.pth: the file is truncated' in text
        assert f'Passing over the checkpoint {run}/iter_4.pth: the file is empty' in text

    def test_finds_the_newest_without_pointer(self, run):
        """A crash between writing the first checkpoint and the pointer to it."""
        (run / 'last_checkpoint').unlink()
        assert self.resume(run).model.consumed[0] == [18, 19, 20]

    @pytest.mark.parametrize(
        'pointer', ['', 'nonsense', '{run}/iter_4.pth', '/moved/away/iter_6.pth', None, b'\xff\xfe']
    )
    def test_the_files_count_and_not_the_pointer(self, run, pointer):
        """It may be empty, one behind, or of a folder that has been moved."""
        place = run / 'last_checkpoint'
        if pointer is None:
            place.unlink()
        else:
            place.write_bytes(pointer if isinstance(pointer, bytes) else pointer.format(run=run).encode())
        assert self.resume(run).model.consumed[0] == [18, 19, 20]

    def test_the_newest_file_is_gone(self, run):
        (run / 'iter_6.pth').unlink()
        assert self.resume(run).model.consumed[0] == [12, 13, 14]

    @pytest.mark.parametrize('content', [dict(a=1), dict(meta=dict(iter=6)), dict(meta='x', state_dict={}), [1]])
    def test_a_file_that_holds_no_run(self, run, content):
        """Whatever reading it raises (KeyError: 'meta'), the one before is taken."""
        torch.save(content, run / 'iter_6.pth')
        assert self.resume(run).model.consumed[0] == [12, 13, 14]
        assert 'it holds no run' in log(run)

    @pytest.mark.parametrize(
        ('place', 'value'),
        [
            (('meta', 'seed'), 'import os'),
            (('message_hub',), 'import os'),
            (('message_hub', 'log_scalars'), None),
            (('message_hub', 'resumed_keys', 'iter'), 'import os'),
            (('message_hub', 'runtime_info', 'train_stream'), 'import os'),
            (('message_hub', 'runtime_info', 'train_stream', 'consumed'), 'import os'),
            (('message_hub', 'runtime_info', 'train_stream', 'seed'), [1, {}]),
            (('optimizer',), 3),
            (('optimizer', 'state'), 'import os'),
            (('optimizer', 'state', 0), 'import os'),
            (('optimizer', 'param_groups'), None),
            (('param_schedulers',), 'import os'),
            (('random_state',), 'import os'),
            (('message_hub', 'runtime_info', 'note'), 'folded'),
        ],
    )
    def test_a_state_of_another_form_is_told_with_its_path(self, run, place, value):
        content = torch.load(run / 'iter_6.pth', weights_only=True)
        inner = content
        for key in place[:-1]:
            inner = inner[key]
        if value == 'folded':  # a few hundred bytes that name 2^40 entries
            value = []
            for _ in range(40):
                value = [value, value]
        inner[place[-1]] = value
        torch.save(content, run / 'strange.pth')
        with pytest.raises(CheckpointError, match=r'cannot resume from .*strange\.pth: '):
            self.resume(run, load_from=str(run / 'strange.pth'))

    @pytest.mark.parametrize(
        ('place', 'value', 'told'),
        [
            (('message_hub', 'runtime_info', 'best_score'), 'high', "best_score: expected a number, found 'high'"),
            (('optimizer', 'param_groups', 0, 'volume'), 11, 'param_groups.0.volume: AdamW has no such option'),
        ],
    )
    def test_a_field_that_is_wrong_is_named(self, run, place, value, told):
        content = torch.load(run / 'iter_6.pth', weights_only=True)
        inner = content
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        torch.save(content, run / 'strange.pth')
        with pytest.raises(CheckpointError, match=rf'cannot resume from .*strange\.pth: .*{told}'):
            self.resume(run, load_from=str(run / 'strange.pth'))

    def test_a_better_checkpoint_deletes_no_file_of_others(self, run, tmp_path):
        content = torch.load(run / 'iter_6.pth', weights_only=True)
        precious = tmp_path / 'elsewhere' / 'precious'
        precious.parent.mkdir()
        precious.write_text('mine')
        content['message_hub']['runtime_info'].update(best_ckpt=str(precious), best_score=1e9)
        torch.save(content, run / 'iter_6.pth')
        hub = self.resume(run).message_hub.runtime_info
        assert precious.exists() and hub['best_score'] < 1e9 and str(run) in hub['best_ckpt']

    def test_one_flipped_bit_anywhere(self, run):
        """In the data, in names, in the archive's directory: the digest sees it."""
        path, data = run / 'iter_6.pth', (run / 'iter_6.pth').read_bytes()
        for position in np.random.default_rng(0).choice(len(data) - 80, 60, replace=False).tolist():
            flipped = bytearray(data)
            flipped[position] ^= 4
            path.write_bytes(flipped)
            assert files.why_not_resumable(path) is not None, position
        assert self.resume(run).model.consumed[0] == [12, 13, 14]

    def test_nothing_whole(self, run):
        for path in run.glob('iter_*.pth'):
            truncate(path)
        with pytest.raises(CheckpointError, match=r'none of the 3 checkpoint\(s\) .* is whole: .*leave out --resume'):
            self.resume(run)

    def test_nothing_at_all_starts_anew(self, tmp_path):
        assert len(self.resume(tmp_path).model.consumed) == 8

    def test_a_damaged_file_by_name(self, run):
        truncate(run / 'iter_6.pth')
        with pytest.raises(CheckpointError, match=r'cannot resume from .*iter_6.pth: the file is truncated'):
            self.resume(run, load_from=str(run / 'iter_6.pth'))

    def test_a_whole_file_by_name(self, run):
        assert self.resume(run, load_from=str(run / 'iter_4.pth')).model.consumed[0] == [12, 13, 14]

    def test_a_malicious_file_runs_nothing(self, run):
        """A whole zip archive, with a pickle that would run a command."""

        class Malice:
            def __reduce__(self):
                return os.system, (f'touch {run}/owned',)

        torch.save(dict(state_dict={}, meta=Malice()), run / 'iter_6.pth')
        with pytest.raises(CheckpointError, match='it names'):
            self.resume(run, load_from=str(run / 'iter_6.pth'))
        assert self.resume(run).model.consumed[0] == [12, 13, 14]
        assert not (run / 'owned').exists()


def test_registered_under_its_name():
    hook = AtomicCheckpointHook(interval=3)
    assert not hook.by_epoch and hook.filename_tmpl == 'iter_{}.pth' and hook.atomic
