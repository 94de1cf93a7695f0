"""PASCAL-Context on a miniature in its published layout, with every trap."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from scipy.io import loadmat

from mmmtl.datasets import PascalContext
from mmmtl.datasets.pascal_context import NORMALS_CLASSES, compatible_classes
from mmmtl.datasets.pascal_parts import merge_parts, read_part_index
from mmmtl.datasets.preparation.prepare import prepare_labels
from mmmtl.errors import ConfigError, LabelError
from tests.miniatures import write_pascal_context

TASKS = dict(
    semseg=dict(type='SemanticSegmentation', classes=21),
    human_parts=dict(type='HumanParts'),
    saliency=dict(type='Saliency'),
    normals=dict(type='SurfaceNormals'),
    boundary=dict(type='Boundary'),
)


@pytest.fixture(scope='module')
def miniature(tmp_path_factory):
    root = tmp_path_factory.mktemp('PASCALContext')
    return root, write_pascal_context(root)


def samples(data):
    return {data.get_data_info(k)['sample_id']: data[k] for k in range(len(data))}


@pytest.mark.parametrize('split', ['train', 'val'])
def test_every_label_of_every_trap(miniature, split):
    root, truth = miniature
    data = PascalContext(TASKS, str(root), split=split)
    for sample_id, results in samples(data).items():
        want, gt, size = truth[sample_id], results['gt'], results['img'].shape[:2]
        assert results['img'].shape == (*want['semseg'].shape, 3)
        assert want['trap'] != 'grey' or (results['img'] == results['img'][..., :1]).all()
        np.testing.assert_array_equal(gt['semseg'], want['semseg'])
        np.testing.assert_array_equal(gt['human_parts'], want['parts'])
        if want['trap'] != 'other size':
            np.testing.assert_array_equal(gt['saliency'], want['saliency'])
            trusted = np.isin(want['context'], NORMALS_CLASSES)
            assert trusted.any() and (want['context'] == 420).any() != trusted.all()
            np.testing.assert_array_equal(np.isfinite(gt['normals']).all(0), trusted)
            assert np.nanmax(np.abs(gt['normals'] - np.where(trusted, want['normals'], np.nan))) < 0.005
        assert {label.shape[-2:] for label in gt.values()} == {size}


def test_labels_of_another_size_are_fitted(miniature):
    root, truth = miniature
    data = PascalContext(TASKS, str(root), split='train')
    sample_id = next(i for i, t in truth.items() if t['trap'] == 'other size')
    gt = samples(data)[sample_id]['gt']
    small = cv2.imread(str(root / 'sal_distill' / f'{sample_id}.png'), 0)
    assert small.shape == (30, 40)
    expected = cv2.resize(small, (80, 60), interpolation=cv2.INTER_NEAREST) > 127
    np.testing.assert_array_equal(gt['saliency'], expected)
    length = np.linalg.norm(gt['normals'], axis=0)
    assert np.allclose(length[np.isfinite(length)], 1, atol=0.03)
    want = truth[sample_id]
    inside = np.isfinite(length) & (cv2.erode((want['context'] == 440).astype(np.uint8), np.ones((7, 7))) > 0)
    # walls are flat but for the corner between two of them, where the interpolation bends
    assert inside.any() and np.quantile(np.abs(gt['normals'] - want['normals'])[:, inside], 0.95) < 0.01


def test_boundary_against_the_recipe_on_the_mat_file(miniature):
    from skimage.morphology import thin

    root, _ = miniature
    data = PascalContext(dict(boundary=TASKS['boundary']), str(root), cache_dir=None)
    for sample_id, results in samples(data).items():
        classes = loadmat(root / 'pascal-context' / 'trainval' / f'{sample_id}.mat')['LabelMap']
        expected = thin(np.abs(cv2.Laplacian(classes, cv2.CV_64F)) > 0)
        np.testing.assert_array_equal(results['gt']['boundary'], expected)
        assert 0 < expected.mean() < 0.3


def test_the_annotation_has_the_published_form(miniature):
    """Read by position, the way of the published code: anno[0][0][1] are the objects."""
    root, truth = miniature
    sample_id = next(i for i, t in truth.items() if t['trap'] == 'plain')
    objects = loadmat(root / 'human_parts' / f'{sample_id}.mat')['anno'][0][0][1]
    person = objects[0][1]
    assert person[1][0][0] == 15 and person[3][0][0][0][0] == 'head'
    merged = np.zeros(person[2].shape)
    for part in person[3][0]:
        group = merge_names()[str(part[0][0])]
        merged[part[1].astype(bool)] = group
    np.testing.assert_array_equal(merge_parts(str(root / 'human_parts' / f'{sample_id}.mat')), merged)


def merge_names():
    """The six groups, written down apart from the package."""
    groups = (
        'head hair lear rear leye reye lebrow rebrow mouth nose|neck torso|luarm ruarm|llarm rlarm lhand rhand|'
        'luleg ruleg|llleg rlleg lfoot rfoot'
    )
    return {name: k for k, names in enumerate(groups.split('|'), 1) for name in names.split()}


def test_nobody_means_ignored(miniature):
    root, truth = miniature
    pipeline = [dict(type='CentredPad', size=(80, 80)), dict(type='PackMTLInputs')]
    for split in ('train', 'val'):  # with and without the list of objects
        data = PascalContext(TASKS, str(root), split=split, test_mode=True, pipeline=pipeline)
        for k in range(len(data)):
            sample = data[k]['data_samples']
            nobody = truth[sample.metainfo['sample_id']]['trap'] == 'nobody'
            assert bool((sample.gt.human_parts == 255).all()) == nobody
            assert sample.gt.shape == sample.metainfo['ori_shape']


def test_parts_need_person(miniature):
    root, truth = miniature
    data = PascalContext(TASKS, str(root), parts_need_person=True)
    for sample_id, kept in data.labels.items():
        assert ('human_parts' in kept) == (truth[sample_id]['trap'] != 'nobody')
    with pytest.raises(ValueError, match='parts_need_person needs every id.*prepare_labels'):
        PascalContext(TASKS, str(root), split='val', parts_need_person=True)


def test_prepare_fills_cache_and_index(tmp_path):
    truth = write_pascal_context(tmp_path, train=1, val=4)
    data = PascalContext(TASKS, str(tmp_path), split='val')
    assert prepare_labels(data, progress=False) == []
    index = read_part_index(tmp_path / 'ImageSets' / 'Parts' / 'val.txt')
    assert {i: 15 in kinds for i, kinds in index.items()} == {
        i: t['trap'] != 'nobody' for i, t in truth.items() if t['split'] == 'val'
    }
    assert len(list((tmp_path / '.mmmtl_cache').rglob('*.map'))) == 3 * 4
    # the cache answers: without it the annotation would have to be parsed
    data._context = None
    for results in samples(PascalContext(TASKS, str(tmp_path), split='val')).values():
        assert set(results['gt']) == set(TASKS)
    with_workers = PascalContext(TASKS, str(tmp_path), split='val', cache_dir=str(tmp_path / 'other'))
    assert prepare_labels(with_workers, workers=2, progress=False) == []
    one, two = (
        sorted(p.read_bytes() for p in d.rglob('*.map')) for d in (tmp_path / '.mmmtl_cache', tmp_path / 'other')
    )
    assert one == two


def test_hidden_labels_stay_closed(tmp_path):
    """One label per image; every other label file is garbage, and nothing notices."""
    write_pascal_context(tmp_path, train=10, val=1)
    options = dict(tasks=TASKS, data_root=str(tmp_path), label_sampler=dict(type='OneLabel'), cache_dir=None)
    data = PascalContext(**options)
    for k in range(10):
        info = data.get_data_info(k)
        opened = {data.label_file(info, t) for t in data.labels[info['sample_id']]}
        if 'normals' in data.labels[info['sample_id']]:
            opened.add(data.label_file(info, 'boundary'))  # normals are trusted by context class
        for task in TASKS:
            path = data.label_file(info, task)
            if path not in opened:
                with open(path, 'wb') as file:
                    file.write(b'hidden')
    assert all(len(results['gt']) == 1 for results in samples(PascalContext(**options)).values())


def test_classes_with_trusted_normals(tmp_path, miniature):
    assert len(NORMALS_CLASSES) == 170 and 427 in NORMALS_CLASSES and 431 not in NORMALS_CLASSES
    context = {'wall': 440, 'tree': 420, 'unknown': 431, 'tvmonitor': 427, 'box': 37}
    assert compatible_classes(context, ['wall', 'box', 'unknown', 'sofa']) == (37, 427, 440)
    root, truth = miniature
    (tmp_path / 'c.json').write_text(json.dumps(context))
    (tmp_path / 'n.json').write_text(json.dumps({'box': 1}))
    (tmp_path / 'ids.json').write_text('[37]')
    forms = ([37], str(tmp_path / 'ids.json'), dict(context=str(tmp_path / 'c.json'), nyu=str(tmp_path / 'n.json')))
    for form in forms:
        data = PascalContext(dict(normals=TASKS['normals']), str(root), normals_classes=form, cache_dir=None)
        for sample_id, results in samples(data).items():
            if truth[sample_id]['trap'] != 'other size':
                known = np.isfinite(results['gt']['normals']).all(0)
                np.testing.assert_array_equal(known, truth[sample_id]['context'] == 37)
    for wrong in ([460], [], dict(context='x')):
        with pytest.raises(ConfigError, match='normals_classes'):
            PascalContext(TASKS, str(root), normals_classes=wrong)


def test_errors_name_the_file(tmp_path):
    write_pascal_context(tmp_path, train=2, val=1)
    with pytest.raises(
        FileNotFoundError, match=r"Context/trainn.txt: no such file \(beside it: \['train.txt', 'val.txt'\]"
    ):
        PascalContext(TASKS, str(tmp_path), split='trainn')
    (tmp_path / 'ImageSets' / 'Parts' / 'train.txt').write_text('not json')
    with pytest.raises(ValueError, match=r'Parts/train.txt: expected JSON.*prepare_labels'):
        PascalContext(TASKS, str(tmp_path))
    (tmp_path / 'human_parts' / '2008_001000.mat').unlink()
    with pytest.raises(LabelError, match=r"2008_001000.mat: task 'human_parts'.*no such file"):
        PascalContext(TASKS, str(tmp_path), split='val')[0]


def test_the_boundary_that_is_scored(miniature):
    """Where the map of classes changes to the right or below, thinned: not the one that is trained with."""
    from skimage.morphology import thin

    root, _ = miniature
    tasks = dict(boundary=TASKS['boundary'])
    scored = samples(PascalContext(tasks, str(root), split='val', boundaries='partition', test_mode=True))
    trained = samples(PascalContext(tasks, str(root), split='val', test_mode=True))
    for sample_id, results in scored.items():
        classes = loadmat(root / 'pascal-context' / 'trainval' / f'{sample_id}.mat')['LabelMap'].astype(int)
        padded = np.pad(classes, ((0, 1), (0, 1)), mode='edge')
        changes = (padded[:-1, :-1] != padded[1:, :-1]) | (padded[:-1, :-1] != padded[:-1, 1:])
        changes[:-1, :-1] |= classes[:-1, :-1] != classes[1:, 1:]
        np.testing.assert_array_equal(results['gt']['boundary'], thin(changes))
        assert (results['gt']['boundary'] != trained[sample_id]['gt']['boundary']).any()
    with pytest.raises(ConfigError, match="boundaries='partitions' is not one of laplacian, partition"):
        PascalContext(tasks, str(root), boundaries='partitions')
