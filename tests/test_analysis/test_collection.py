"""Predictions of collections: shared out by ids, gone on with, made into labels that train beside the true ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mmmtl.analysis.collection import Part, entries_of, origin_of, predict_collection, train_on_labels
from mmmtl.apis import Inferencer, train
from mmmtl.commands.predict import limits
from mmmtl.config import load_config
from mmmtl.datasets.preparation.indexing import make_index
from mmmtl.datasets.pseudo_labels import certain_label
from mmmtl.errors import ConfigError, InputError
from mmmtl.registry import DATASETS
from mmmtl.tasks import build_tasks
from mmmtl.visualization import read_raw


class Uncertain(Inferencer):
    """Uncertain in the lower half of every picture, whatever the network."""

    def stream(self, inputs, ensemble=1, **options):
        for result in super().stream(inputs, **options):
            result.uncertainty = {}
            for name, value in result.pred.items() if ensemble > 1 else ():
                spread = np.zeros((1, *value.shape[-2:]), np.float32)
                spread[:, spread.shape[1] // 2 :] = 0.5
                result.uncertainty[name] = spread
            yield result


@pytest.fixture(scope='module')
def inferencer(trained) -> Inferencer:
    return Uncertain(trained.parent / 'tiny.py', str(trained / 'iter_4.pth'), device='cpu')


@pytest.fixture
def folder(tmp_path) -> Path:
    for number in range(7):
        path = tmp_path / 'images' / ('sub' if number % 2 else '.') / f'{number}.png'
        path.parent.mkdir(exist_ok=True, parents=True)
        cv2.imwrite(str(path), np.random.default_rng(number).integers(0, 256, (32, 40, 3), np.uint8))
    return tmp_path / 'images'


def written(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob('*.*') if p.suffix != '.json'}


def test_parts_make_the_whole_and_a_stopped_run_goes_on(inferencer, folder, tmp_path):
    one, several = tmp_path / 'one', tmp_path / 'several'
    assert '7 of 7 images, 7 predicted now' in predict_collection(inferencer, [str(folder)], str(one))
    lines = [predict_collection(inferencer, [str(folder)], str(several), Part(i, 3)) for i in range(3)]
    assert sum(int(line.split(': ')[1].split()[0]) for line in lines) == 7 and 'part 3/3' in lines[2]
    files = written(one)
    assert files == written(several) and len(files) == 7 * 3 and 'semseg/sub%2F1.png' in files
    (several / 'semseg' / '2.png').unlink()
    assert '1 predicted now' in predict_collection(inferencer, [str(folder)], str(several), tasks=None)
    assert written(several) == files


def test_predictions_of_something_else_do_not_mix(inferencer, folder, tmp_path):
    out = str(tmp_path / 'out')
    predict_collection(inferencer, [str(folder / '0.png')], out, origin='config a.pth')
    with pytest.raises(InputError, match="origin='config a.pth', and these have 'config b.pth'"):
        predict_collection(inferencer, [str(folder / '0.png')], out, origin='config b.pth')
    with pytest.raises(InputError, match='ensemble=1'):
        predict_collection(inferencer, [str(folder / '0.png')], out, origin='config a.pth', ensemble=2)


def test_another_training_under_the_same_name_is_another_origin(tmp_path):
    checkpoint = tmp_path / 'last.pth'
    checkpoint.write_bytes(b'one')
    first = origin_of('c.py', None, str(checkpoint))
    assert first == origin_of('c.py', {}, str(checkpoint)) and 'last.pth sha256:' in first
    assert first != origin_of('c.py', {'model.decoder.steps': 1}, str(checkpoint))
    checkpoint.write_bytes(b'two')
    assert first != origin_of('c.py', None, str(checkpoint))


def test_a_broken_image_is_named_and_the_others_are_done(inferencer, folder, tmp_path):
    (folder / '4.png').write_bytes(b'no picture')
    with pytest.raises(InputError, match='1 of 7 images failed(.|\n)*4.png'):
        predict_collection(inferencer, [str(folder)], str(tmp_path / 'out'))
    assert len(list((tmp_path / 'out' / 'depth').iterdir())) == 6


def test_the_share_of_a_process(monkeypatch):
    for name in ('RANK', 'WORLD_SIZE', 'SLURM_PROCID', 'SLURM_NTASKS', 'OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'):
        monkeypatch.delenv(name, raising=False)
    assert Part.of(None) == Part(0, 1) and Part.of('2/8') == Part(1, 8)
    monkeypatch.setenv('SLURM_PROCID', '3')
    monkeypatch.setenv('SLURM_NTASKS', '4')
    assert Part.of(None) == Part(3, 4)
    shares = [sum(Part(i, 5).has(f'image_{k}') for k in range(2000)) for i in range(5)]
    assert sum(shares) == 2000 and min(shares) > 330, 'even, and nobody is left out'
    for text in ('0/8', '9/8', '1', 'a/b', '1/0'):
        with pytest.raises(ConfigError, match='expected I/N'):
            Part.of(text)


def test_labels_for_what_is_missing_train_beside_the_true_ones(inferencer, trained, tmp_path):
    data = (trained.parent / 'data.py').read_text().replace("type='FullLabels'", "type='OneLabel'")
    for name in ('tasks.py', 'tiny.py'):
        (tmp_path / name).write_text((trained.parent / name).read_text())
    (tmp_path / 'data.py').write_text(data)
    source, out = str(tmp_path / 'tiny.py'), tmp_path / 'labels'
    predict_collection(inferencer, [source], str(out), ensemble=2, keep_below=0.4)
    cfg = load_config(source)
    entries = list(entries_of([source], 1, inferencer.tasks)[0])
    assert [len(entry.labelled) for entry in entries] == [1] * 6
    there = {name: {path.stem for path in (out / name).iterdir()} for name in inferencer.tasks}
    for entry in entries:
        assert [name for name in there if entry.sample_id not in there[name]] == list(entry.labelled)
    path = train_on_labels(cfg, [source], str(out), list(inferencer.tasks), weight=2.0)
    mixed = DATASETS.build(load_config(path).train_dataloader.dataset)
    assert len(mixed) == 12 == len(list(entries_of([path], 1, inferencer.tasks)[0]))
    pseudo = mixed.datasets[1]
    sample = pseudo.load_sample(0)
    labels = {name: pseudo.load_label(pseudo.get_data_info(0), name) for name in pseudo.labels[sample['sample_id']]}
    assert len(labels) == 2
    for name, label in labels.items():
        unknown = label == 255 if label.ndim == 2 else np.isnan(label).any(0)
        assert unknown[16:].all() and not unknown[:16].any(), name
        stem = next((out / name).glob(f'{sample["sample_id"]}.*'))
        stored = read_raw(str(stem))
        assert np.array_equal(np.squeeze(stored), np.squeeze(label), equal_nan=stored.dtype.kind == 'f')
    runner = train(load_config(path, {'train_cfg.max_iters': 2, 'train_cfg.val_interval': 2}), str(tmp_path / 'work'))
    assert runner.train_dataloader.dataset.weights == [1.0, 2.0] and runner.iter == 2


def test_labels_of_a_folder_of_photographs(inferencer, trained, folder, tmp_path):
    out = str(tmp_path / 'labels')
    predict_collection(inferencer, [str(folder)], out, tasks=['depth'], ensemble=2, keep_below=dict(depth=0.4))
    cfg = load_config(trained.parent / 'tiny.py')
    path = train_on_labels(cfg, [str(folder)], out, ['depth'])
    pseudo = DATASETS.build(load_config(path).train_dataloader.dataset.datasets[1])
    assert sorted(pseudo.labels) == ['0', '2', '4', '6', 'sub/1', 'sub/3', 'sub/5']
    assert pseudo.load_sample(0)['img'].shape == (32, 40, 3)


def test_an_index_is_a_collection(inferencer, trained, folder, tmp_path):
    """The images of an index, with its labels: those that a task has already are left out of the new ones."""
    pytest.importorskip('pyarrow')
    tasks = {'depth': load_config(trained.parent / 'tiny.py').model.tasks['depth']}
    (folder.parent / 'depth').mkdir()
    np.save(folder.parent / 'depth' / '2.npy', np.ones((1, 32, 40), np.float32))
    data = dict(type='FolderDataset', data_root=str(folder.parent), tasks=tasks)
    index = tmp_path / 'index.parquet'
    make_index(data, str(index))
    out = tmp_path / 'out'
    line = predict_collection(inferencer, [str(index)], str(out), tasks=['depth'], ensemble=2, keep_below=0.4)
    assert '7 of 7 images, 6 predicted now' in line
    assert sorted(p.stem for p in (out / 'depth').iterdir()) == ['0', '4', '6', 'sub%2F1', 'sub%2F3', 'sub%2F5']
    path = train_on_labels(load_config(trained.parent / 'tiny.py'), [str(index)], str(out), ['depth'])
    pseudo = DATASETS.build(load_config(path).train_dataloader.dataset.datasets[1])
    assert len(pseudo) == 6 and pseudo.load_sample(0)['img'].shape == (32, 40, 3)


def test_labels_need_an_uncertainty_and_a_limit_for_every_task(inferencer, folder, tmp_path):
    for options, words in (
        (dict(keep_below=0.1), 'ensemble >= 2'),
        (dict(keep_below=dict(depth=0.1), ensemble=2), 'one for each'),
        (dict(keep_below=0, ensemble=2), 'above 0'),
        (dict(tasks=['dept']), "'dept' is not a task.*depth"),
    ):
        with pytest.raises(ConfigError, match=words):
            predict_collection(inferencer, [str(folder)], str(tmp_path / 'out'), **options)
    assert limits(None) is None and limits(['0.3']) == 0.3
    assert limits(['depth=0.3', 'semseg=1']) == dict(depth=0.3, semseg=1)


def test_several_seeds_of_a_network_with_noise(trained, folder, tmp_path):
    """The uncertainty is that of the inferencer; a network without noise has none to give."""
    for name in ('tasks.py', 'data.py', 'tiny.py'):
        text = (trained.parent / name).read_text()
        plain, noisy = "'PlainDecoder', channels=12, num_blocks=1", "'TaskDiffusionDecoder', steps=2, upsample=2"
        (tmp_path / name).write_text(text.replace(plain, noisy))
    inferencer = Inferencer(tmp_path / 'tiny.py', None, device='cpu')
    out = tmp_path / 'out'
    predict_collection(
        inferencer, [str(folder / '0.png'), str(folder / '2.png')], str(out), tasks=['depth'], ensemble=2
    )
    spread = np.load(out / 'uncertainty' / 'depth' / '2.npy')
    assert spread.shape == (1, 32, 40) and spread.dtype == np.float16 and (spread > 0).any()
    silent = Inferencer(trained.parent / 'tiny.py', str(trained / 'iter_4.pth'), device='cpu')
    with pytest.raises(ConfigError, match='ensemble'):
        predict_collection(silent, [str(folder)], str(tmp_path / 'none'), ensemble=2)


def test_what_is_not_certain_is_unknown():
    tasks = build_tasks(
        dict(
            semseg=dict(type='SemanticSegmentation', classes=['a', 'b', 'c']),
            saliency=dict(type='Saliency'),
            normals=dict(type='SurfaceNormals'),
        )
    )
    spread = np.array([[[0.1, 0.3], [0.2, np.nan]]], np.float32)
    classes = certain_label(tasks['semseg'], np.array([[0, 1], [2, 0]]), spread, 0.3)
    assert classes.tolist() == [[0, 255], [2, 255]] and classes.dtype == np.int64
    mask = certain_label(tasks['saliency'], np.array([[[0.9, 0.9], [0.2, 0.9]]], np.float32), spread, 0.3)
    assert mask.tolist() == [[1, 255], [0, 255]]
    vectors = np.ones((3, 2, 2), np.float32)
    vectors[1, 1, 0] = np.inf
    normals = certain_label(tasks['normals'], vectors, spread, 0.3)
    assert np.isnan(normals).tolist() == [[[False, True], [True, True]]] * 3
