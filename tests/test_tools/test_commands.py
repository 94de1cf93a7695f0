"""The commands: they explain themselves, do their job, and tell a person's mistake in a line."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmmtl.apis import run_command
from tests.distributed import launch
from tests.tiny_config import write_config

ROOT = Path(__file__).resolve().parents[2]
TOOLS = sorted(
    p.relative_to(ROOT / 'tools').as_posix() for p in (ROOT / 'tools').rglob('*.py') if p.name != '__init__.py'
)


def run(monkeypatch, tool: str, *args) -> None:
    """Run a command in this process."""
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
    runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')


def failure(monkeypatch, capsys, tool: str, *args) -> str:
    """The error a command ends with: one message on stderr, exit status 1, no traceback."""
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, tool, *args)
    assert end.value.code == 1
    message = capsys.readouterr().err.partition('\nerror: ')[2]
    assert message and 'Traceback' not in message
    return message


@pytest.fixture
def tiny(tmp_path) -> str:
    return write_config(tmp_path)


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> Path:
    """Work dir of the tiny config after four iterations of tools/train.py."""
    folder = tmp_path_factory.mktemp('tools')
    with pytest.MonkeyPatch.context() as patch:
        run(patch, 'train.py', write_config(folder), '--work-dir', folder / 'work', '--seed', 1)
    return folder / 'work'


@pytest.mark.parametrize('tool', TOOLS)
def test_every_tool_explains_itself(monkeypatch, capsys, tool):
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, tool, '--help')
    assert end.value.code == 0 and 'usage:' in capsys.readouterr().out


def test_train_test_infer(monkeypatch, capsys, trained, tmp_path):
    config, checkpoint = trained.parent / 'tiny.py', trained / 'iter_4.pth'
    run(
        monkeypatch,
        'test.py',
        config,
        checkpoint,
        '--work-dir',
        tmp_path / 'work',
        '--out',
        tmp_path / 'out',
        '--show-dir',
        tmp_path / 'show',
        '--max-panels',
        1,
        '--cfg-options',
        'test_dataloader.batch_size=3',
    )
    metrics = json.loads((tmp_path / 'work' / 'metrics.json').read_text())
    assert 'semseg/mIoU' in metrics and len(list((tmp_path / 'out' / 'depth').iterdir())) == 3
    assert len(list((tmp_path / 'show').iterdir())) == 1
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((40, 48, 3), np.uint8))
    run(monkeypatch, 'infer.py', config, checkpoint, tmp_path / 'a.png', '--out', tmp_path / 'seen', '--device', 'cpu')
    assert 'mIoU' in (printed := capsys.readouterr().out) and '1 images, 4 files' in printed
    assert (tmp_path / 'seen/predictions/semseg/a.png').is_file() and (tmp_path / 'seen/panels/a.png').is_file()


def test_train_resumes(monkeypatch, trained, tmp_path):
    shutil.copytree(trained, tmp_path / 'work')
    (tmp_path / 'work' / 'last_checkpoint').write_text(str(tmp_path / 'work' / 'iter_2.pth'))
    (tmp_path / 'work' / 'iter_4.pth').unlink()
    run(monkeypatch, 'train.py', trained.parent / 'tiny.py', '--work-dir', tmp_path / 'work', '--resume', '--seed', 1)
    ours, theirs = (torch.load(f / 'iter_4.pth', weights_only=True)['state_dict'] for f in (tmp_path / 'work', trained))
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


def test_looking_at_things(monkeypatch, capsys, trained, tmp_path):
    config = trained.parent / 'tiny.py'
    run(monkeypatch, 'misc/print_config.py', config, '--section', 'train_cfg', '--cfg-options', 'max_iters=7')
    printed = capsys.readouterr().out
    assert 'train_cfg.max_iters' in printed and '← max_iters' in printed and 'model' not in printed
    run(monkeypatch, 'misc/print_config.py', config, '--out', tmp_path / 'whole.py')
    from mmmtl.config import load_config

    assert load_config(tmp_path / 'whole.py')._cfg_dict == load_config(config)._cfg_dict
    wrong = failure(monkeypatch, capsys, 'misc/print_config.py', config, '--plain', '--section', 'model')
    assert "--section 'model' goes without --plain and --out" in wrong
    run(monkeypatch, 'misc/print_config.py', config, '--plain')
    assert "type='PlainDecoder'" in capsys.readouterr().out
    run(monkeypatch, 'misc/browse_dataset.py', config, '--number', 1, '--out', tmp_path / 'browse')
    assert len(list((tmp_path / 'browse').iterdir())) == 1
    run(monkeypatch, 'analysis_tools/get_flops.py', config, '--shape', 64)
    assert 'input 64 x 64' in capsys.readouterr().out
    run(monkeypatch, 'analysis_tools/analyze_logs.py', trained, '--out', tmp_path / 'c.png', '--smooth', 0.5)
    assert (tmp_path / 'c.png').is_file() and '4 iterations' in capsys.readouterr().out
    run(monkeypatch, 'misc/publish_model.py', trained / 'iter_4.pth', tmp_path / 'net.safetensors')
    assert Path(capsys.readouterr().out.strip()).is_file()


# ---- bad input: a clear error that names place, value and remedy ----
@pytest.mark.parametrize(
    'options, words',
    [
        (['model.decoder.type=PlanDecoder'], ["model.decoder.type='PlanDecoder'", "Did you mean 'PlainDecoder'"]),
        (['model.decoder.chanels=3'], ["there is no 'chanels' in model.decoder", "'channels'"]),
        (['tasks.depth.max_dept=3'], ["no 'max_dept' in tasks.depth", "'max_depth'"]),
        (['only_tasks=[dept]'], ["only_tasks=['dept']", "'depth'"]),
        (['load_from=/no/such.pth'], ["load_from='/no/such.pth' does not exist"]),
    ],
)
def test_mistakes_in_options(monkeypatch, capsys, tiny, tmp_path, options, words):
    text = failure(monkeypatch, capsys, 'train.py', tiny, '--work-dir', tmp_path / 'w', '--cfg-options', *options)
    assert all(word in text for word in words), text
    assert not (tmp_path / 'w').exists()  # nothing was started


def test_missing_files(monkeypatch, capsys, trained, tmp_path):
    config, checkpoint = trained.parent / 'tiny.py', trained / 'iter_4.pth'
    assert "'tiny.py'" in failure(monkeypatch, capsys, 'train.py', trained.parent / 'tinny.py')
    text = failure(monkeypatch, capsys, 'test.py', config, trained / 'iter_40.pth', '--work-dir', tmp_path)
    assert "iter_40.pth' does not exist" in text and 'iter_4.pth' in text
    (tmp_path / 'broken.png').write_bytes(b'\x89PNG no more')
    for place, word in (('none.png', 'does not exist'), ('broken.png', 'found a file that cannot be read')):
        assert word in failure(monkeypatch, capsys, 'infer.py', config, checkpoint, tmp_path / place, '--out', tmp_path)


def test_a_checkpoint_of_another_architecture(monkeypatch, capsys, trained, tmp_path):
    text = failure(
        monkeypatch,
        capsys,
        'test.py',
        trained.parent / 'tiny.py',
        trained / 'iter_4.pth',
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'model.decoder.channels=20',
    )
    assert 'of another shape: decoder.mix.weight (12, 24, 1, 1) instead of (20, 24, 1, 1)' in text
    assert 'model.decoder.channels was 12, here 20' in text


def folder_dataset(folder: Path, damage) -> Path:
    """Two photographs with class and depth labels, one of them damaged, and the config of a training on them."""
    rng = np.random.default_rng(0)
    for part in ('images', 'semseg', 'depth'):
        (folder / 'data' / part).mkdir(parents=True)
    for name in 'ab':
        cv2.imwrite(str(folder / 'data/images' / f'{name}.png'), rng.integers(0, 256, (32, 32, 3), np.uint8))
        cv2.imwrite(str(folder / 'data/semseg' / f'{name}.png'), rng.integers(0, 3, (32, 32), np.uint8))
        np.save(folder / 'data/depth' / f'{name}.npy', rng.uniform(1, 5, (32, 32)).astype(np.float32))
    damage(folder / 'data')
    config = write_config(folder)
    replace(folder / 'tasks.py', "'wall', 'floor', 'ceiling', 'rug', 'table', 'box', 'ball', 'figure'", "'x', 'y', 'z'")
    replace(folder / 'tasks.py', "    boundary=dict(type='Boundary', loss_weight=2.0))", ')')
    replace(
        folder / 'data.py', "type='Diorama', length=6, size=size", f"type='FolderDataset', data_root='{folder}/data'"
    )
    return Path(config)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def write_map(path, array):
    assert cv2.imwrite(str(path), array)


@pytest.mark.parametrize(
    'damage, words',
    [
        (
            lambda d: write_map(d / 'semseg/a.png', np.zeros((30, 32), np.uint8)),
            ['semseg/a.png', "task 'semseg'", '32x32', '30x32'],
        ),
        (
            lambda d: write_map(d / 'semseg/a.png', np.full((32, 32), 7, np.uint8)),
            ['semseg/a.png', "task 'semseg'", '0..2', '[7]'],
        ),
        (
            lambda d: write_map(d / 'semseg/a.png', np.arange(32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)),
            ['semseg/a.png', 'one channel', 'RGB'],
        ),
        (
            lambda d: np.save(d / 'depth/a.npy', -np.ones((32, 32), np.float32)),
            ['depth/a.npy', "task 'depth'", '[-1, -1]'],
        ),
        (lambda d: np.save(d / 'depth/a.npy', np.array([['x'] * 32] * 32)), ['depth/a.npy', "task 'depth'"]),
        (lambda d: (d / 'depth/a.npy').write_bytes(b'no array'), ['depth/a.npy', 'cannot be read']),
        (lambda d: (d / 'images/a.png').write_bytes(b'no image'), ['images/a.png', 'expected an image']),
        (
            lambda d: [p.unlink() for p in (d / 'depth').iterdir()],
            ["tasks['depth']", 'not one of 2 samples', 'Remove the task'],
        ),
        (lambda d: shutil.rmtree(d / 'images'), ['images']),
    ],
)
def test_bad_data_files(monkeypatch, capsys, tmp_path, damage, words):
    text = failure(monkeypatch, capsys, 'train.py', folder_dataset(tmp_path, damage), '--work-dir', tmp_path / 'work')
    assert all(word in text for word in words), text


def test_a_bad_file_found_by_a_worker_process_is_told_as_briefly(monkeypatch, capsys, tmp_path):
    config = folder_dataset(tmp_path, lambda d: (d / 'depth/a.npy').write_bytes(b'no array'))
    text = failure(
        monkeypatch,
        capsys,
        'train.py',
        config,
        '--work-dir',
        tmp_path / 'work',
        '--cfg-options',
        'train_dataloader.num_workers=1',
    )
    assert 'depth/a.npy' in text and 'cannot be read' in text


def test_an_image_size_the_network_cannot_take(monkeypatch, capsys, tiny, tmp_path):
    text = failure(
        monkeypatch,
        capsys,
        'train.py',
        tiny,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'train_dataloader.dataset.size=(36,30)',
    )
    assert 'height is a multiple of 8 and width of 8, got 36x30' in text


# ---- several processes ----
def shell(script: str, *args, **env) -> subprocess.CompletedProcess:
    """Run a shell command of ``tools/`` with this interpreter and this copy of the package."""
    environment = {**os.environ, 'PYTHON': sys.executable, 'PYTHONPATH': str(ROOT), **env}
    return subprocess.run(
        ['bash', str(ROOT / 'tools' / script), *map(str, args)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.slow
def test_any_number_of_processes_and_batch_size_gives_the_same_digits(monkeypatch, tmp_path):
    """Seven images with labels missing, a diffusion decoder; two processes train and test on gloo."""
    config = Path(write_config(tmp_path))
    text = config.read_text().replace(
        "decoder=dict(type='PlainDecoder', channels=12, num_blocks=1)",
        "decoder=dict(type='TaskDiffusionDecoder', steps=2, upsample=2)",
    )
    config.write_text(text)
    options = [
        'test_dataloader.dataset.length=7',
        'test_dataloader.dataset.label_sampler.type=RandomLabels',
        'max_iters=2',
        'label_sampler.type=OneLabel',
    ]
    launch('train', config, '--work-dir', tmp_path / 'work', '--cfg-options', *options)
    checkpoint = tmp_path / 'work' / 'iter_2.pth'
    for size in (1, 3, 4):
        run(
            monkeypatch,
            'test.py',
            config,
            checkpoint,
            '--work-dir',
            tmp_path / f'one_{size}',
            '--out',
            tmp_path / f'one_{size}' / 'out',
            '--cfg-options',
            f'test_dataloader.batch_size={size}',
            *options,
        )
    tested = shell(
        'dist_test.sh',
        config,
        checkpoint,
        2,
        '--work-dir',
        tmp_path / 'two',
        '--out',
        tmp_path / 'two' / 'out',
        '--cfg-options',
        'test_dataloader.batch_size=3',
        *options,
    )
    assert tested.returncode == 0, tested.stderr[-3000:]
    runs = [*(tmp_path / f'one_{size}' for size in (1, 3, 4)), tmp_path / 'two']
    written = {(folder / 'metrics.json').read_bytes() for folder in runs}
    assert len(written) == 1
    figures = json.loads(written.pop())
    assert {k.split('/')[0] for k in figures} == {'semseg', 'depth', 'boundary'}
    files = sorted(p.relative_to(runs[0]) for p in (runs[0] / 'out').rglob('*.*'))
    assert len(files) == 28
    for folder in runs[1:]:
        assert all((folder / f).read_bytes() == (runs[0] / f).read_bytes() for f in files)


@pytest.mark.parametrize(
    'script, args, expected',
    [
        ('slurm_train.sh', ['part', 'job', 'c.py', '--seed', '3'], 'train.py c.py --launcher slurm --seed 3'),
        (
            'slurm_test.sh',
            ['part', 'job', 'c.py', 'x.pth', '--out', 'o'],
            'test.py c.py x.pth --launcher slurm --out o',
        ),
    ],
)
def test_slurm_commands(tmp_path, script, args, expected):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\necho "$@"\n')
    srun.chmod(0o755)
    done = shell(script, *args, PATH=f'{tmp_path}:{os.environ["PATH"]}', GPUS='2', SRUN_ARGS='--time=1')
    assert done.stdout.strip().endswith(expected)
    assert (
        '-p part --job-name=job --gres=gpu:2 --ntasks=2 --ntasks-per-node=2' in done.stdout
        and '--time=1' in done.stdout
    )


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'])
def test_shell_commands_say_how_they_are_used(script):
    done = shell(script)
    assert done.returncode == 2 and f'usage: bash tools/{script}' in done.stderr


@pytest.mark.parametrize('launcher, words', [('pytorch', 'torchrun'), ('slurm', 'srun'), ('mpi', 'mpirun')])
def test_a_launcher_without_its_environment_is_explained(monkeypatch, capsys, tiny, tmp_path, launcher, words):
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(name, raising=False)
    message = failure(monkeypatch, capsys, 'train.py', tiny, '--work-dir', tmp_path / 'w', '--launcher', launcher)
    assert f'not started by {words}' in message


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--work-dir', '{tmp}/file/run'], r'--work-dir .*file is a file, no folder'),
        (
            ['--cfg-options', 'train_dataloader.batch_size=0'],
            r'train_dataloader.batch_size must be .* at least 1, got 0',
        ),
        (
            ['--cfg-options', 'train_dataloader.num_workers=-1'],
            r'num_workers must be a whole number from 0 to \d+, got -1',
        ),
        (['--cfg-options', 'optim_wrapper.accumulative_counts=0'], 'accumulative_counts must be .* at least 1, got 0'),
        (['--cfg-options', 'log_level=VERBOSE'], "log_level must be one of .*got 'VERBOSE'"),
        (['--seed', '-1'], 'randomness.seed must be .*got -1'),
        (['--cfg-options', 'model.backbone.num_heads=5'], r'TimmBackbone\(.*num_heads=5.*divisible by num_heads'),
        (['--cfg-options', 'size=32'], r'expected \(height, width\).*got 32|expects? .*32'),
        (
            ['--work-dir', '{tmp}/w', '--cfg-options', 'optim_wrapper.optimizer.lr=-1'],
            'optim_wrapper.optimizer.lr must be a number of at least 0, got -1',
        ),
    ],
)
def test_what_torch_and_mmengine_would_tell_by_a_traceback(monkeypatch, capsys, tiny, tmp_path, arguments, words):
    (tmp_path / 'file').write_text('x')
    arguments = [a.format(tmp=tmp_path) for a in arguments]
    assert re.search(words, failure(monkeypatch, capsys, 'train.py', tiny, *arguments))


def test_a_folder_as_checkpoint_and_a_device_that_is_not_there(monkeypatch, capsys, trained, tmp_path):
    config, picture = write_config(tmp_path), tmp_path / 'a.png'
    message = failure(monkeypatch, capsys, 'test.py', config, trained, '--work-dir', tmp_path / 'w')
    assert 'is a folder' in message and 'iter_4.pth' in message
    cv2.imwrite(str(picture), np.zeros((64, 64, 3), np.uint8))
    message = failure(monkeypatch, capsys, 'infer.py', config, trained / 'iter_4.pth', picture, '--device', 'gpu')
    assert "device 'gpu'" in message and 'This machine has cpu' in message


@pytest.mark.parametrize(
    'error, words',
    [
        (FileNotFoundError(2, 'No such file or directory', 'x.txt'), "No such file or directory: 'x.txt'"),
        (OSError(28, 'No space left on device'), 'No space left on device'),
        (RuntimeError('Unknown model (vit_tinny)'), 'timm: Unknown model (vit_tinny)'),
        (
            KeyError('EmaHook is not in the mmengine::hook registry. Please check'),
            'EmaHook is not in the mmengine::hook',
        ),
        (RuntimeError('Invalid device string: gpu'), 'device: Invalid device string: gpu'),
        (ImportError('x is missing: pip install x'), 'pip install x'),
    ],
)
def test_errors_of_other_libraries_that_are_a_persons_mistake(capsys, error, words):
    def fail():
        raise error

    with pytest.raises(SystemExit) as end:
        run_command(fail)
    assert end.value.code == 1 and words in capsys.readouterr().err


def test_an_error_of_the_code_keeps_its_traceback():
    for error in (RuntimeError('shape mismatch'), KeyError('name'), OSError('odd')):
        with pytest.raises(type(error)):
            run_command(lambda error=error: (_ for _ in ()).throw(error))


def test_a_console_that_cannot_print_lines(tiny):
    """Tables are ruled by a character that ASCII does not have."""
    done = subprocess.run(
        [sys.executable, ROOT / 'tools/misc/print_config.py', tiny, '--section', 'train_cfg'],
        env={**os.environ, 'PYTHONIOENCODING': 'ascii'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and 'max_iters' in done.stdout and 'Traceback' not in done.stderr
