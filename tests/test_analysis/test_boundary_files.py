"""Boundary evaluation of folders: formats, lists, counts that are kept and merged, the command, and mistakes."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_matrix

from mmmtl.analysis.boundary_files import BoundaryCounts, evaluate_folder, read_labels, read_prediction
from mmmtl.analysis.boundary_report import evaluate_command
from mmmtl.errors import ConfigError
from mmmtl.evaluation import BoundaryMeasure, MultiTaskMetric
from mmmtl.evaluation.functional.boundary.evaluate import even_thresholds, image_counts, protocol_settings
from mmmtl.evaluation.functional.boundary.labels import segmentation_boundary
from mmmtl.tasks import build_tasks

SETTINGS = protocol_settings('mti', max_dist=0.03, thresholds=[0.3, 0.5, 0.7])


def make_pair(seed, size=(32, 44)):
    """(8-bit prediction, label) of about one hundred boundary pixels."""
    rng = np.random.default_rng(seed)
    field = cv2.GaussianBlur(rng.standard_normal(size).astype(np.float32), (0, 0), 5) > 0
    gt = segmentation_boundary(field)
    soft = cv2.GaussianBlur(gt.astype(np.float32), (0, 0), 1.2) * 1.5 + 0.3 * rng.random(size)
    return (255 * np.clip(soft, 0, 1)).astype(np.uint8), gt


@pytest.fixture
def folders(tmp_path):
    """Five images in two folders."""
    pred, gt = tmp_path / 'pred', tmp_path / 'gt'
    pred.mkdir()
    gt.mkdir()
    for i in range(5):
        value, label = make_pair(i)
        cv2.imwrite(str(pred / f'im{i}.png'), value)
        cv2.imwrite(str(gt / f'im{i}.png'), label.astype(np.uint8) * 255)
    return pred, gt


def cell(*values):
    """A MATLAB cell row."""
    row = np.empty((1, len(values)), object)
    for i, value in enumerate(values):
        row[0, i] = value
    return row


def test_label_formats(tmp_path):
    a, b = make_pair(0)[1], make_pair(1)[1]
    segments = np.random.default_rng(0).integers(0, 400, (9, 12))
    savemat(
        tmp_path / 'bsds.mat',
        {'groundTruth': cell({'Boundaries': a.astype(np.uint8)}, {'Boundaries': b.astype(np.uint8)})},
    )
    savemat(
        tmp_path / 'sbd.mat', {'GTcls': {'Boundaries': cell(csc_matrix(a), csc_matrix(b)).T, 'Segmentation': a * 1}}
    )
    savemat(tmp_path / 'pascal.mat', {'LabelMap': segments})
    savemat(tmp_path / 'other.mat', {'something': a})
    np.save(tmp_path / 'map.npy', a[None].astype(np.int64))
    cv2.imwrite(str(tmp_path / 'map.png'), a.astype(np.uint8))
    cv2.imwrite(str(tmp_path / 'colour.png'), np.repeat(a[..., None].astype(np.uint8) * 255, 3, 2))

    def check(name, *wanted, **options):
        found = read_labels(tmp_path / name, **options)
        assert len(found) == len(wanted)
        for map_, want in zip(found, wanted):
            np.testing.assert_array_equal(map_, want)

    check('bsds.mat', a, b)
    check('sbd.mat', a | b)
    check('pascal.mat', segmentation_boundary(segments))
    check('map.npy', a)
    check('map.png', a)
    check('colour.png', a)
    check('map.png', segmentation_boundary(a), kind='regions')
    with pytest.raises(ValueError, match=r"other.mat: expected groundTruth .* found \['something'\]"):
        read_labels(tmp_path / 'other.mat')
    with pytest.raises(ValueError, match="kind must be one of contours, regions, got 'edge'"):
        read_labels(tmp_path / 'map.png', 'edge')


def test_255_means_the_same_in_files_and_in_training(tmp_path):
    """Beside 0 and 1 it is unknown, beside 0 alone it is a boundary; other numbers are refused."""
    value, gt = make_pair(3)
    label = gt.astype(np.uint8)
    label[:10] = 255
    for folder in ('pred', 'gt'):
        (tmp_path / folder).mkdir()
    cv2.imwrite(str(tmp_path / 'pred' / 'a.png'), value)
    cv2.imwrite(str(tmp_path / 'gt' / 'a.png'), label)
    found = evaluate_folder(tmp_path / 'pred', tmp_path / 'gt', SETTINGS, progress=False).images['a']
    metric = BoundaryMeasure(protocol=SETTINGS.protocol, max_dist=SETTINGS.max_dist, thresholds=SETTINGS.thresholds)
    state = metric.measure(value[None] / np.float32(255), label.astype(np.int64))
    np.testing.assert_array_equal(found, state['counts'])
    cv2.imwrite(str(tmp_path / 'graded.png'), np.arange(200, dtype=np.uint8).reshape(10, 20))
    with pytest.raises(ValueError, match=r'graded.png: expected contours of 0, 1 and 255 .* found \[2, 3'):
        read_labels(tmp_path / 'graded.png')


def test_the_metric_takes_several_annotators():
    value, first, second = *make_pair(1), make_pair(2)[1]
    both = np.stack([first, second]).astype(np.int64)
    metric = BoundaryMeasure(protocol='bsds', thresholds=(0.2, 0.5))
    wanted = image_counts(value / 255, [first, second], metric.settings)
    np.testing.assert_array_equal(metric.measure(value[None] / 255, both)['counts'], wanted)


def test_the_berkeley_protocol_compares_floats_as_they_are():
    """Rounded down to 8 bits, .5019 would fall below .5015."""
    label = np.zeros((9, 9), bool)
    label[4] = True
    settings = protocol_settings('bsds', thresholds=(0.5015,))
    assert image_counts(label * 0.5019, [label], settings)[3].tolist() == [9]
    assert image_counts(label * 0.5019, [label], protocol_settings('mti', thresholds=(0.5015,)))[3].tolist() == [0]


@pytest.mark.parametrize(('name', 'with_threshold'), [('{}_ev1.txt', True), ('{}.txt', False)])
def test_counts_that_published_programs_wrote(tmp_path, name, with_threshold):
    settings = protocol_settings('bsds', thresholds=even_thresholds(5))
    pairs = {f'im{i}': make_pair(i) for i in range(2)}
    ours = {i: image_counts(value, [label], settings) for i, (value, label) in pairs.items()}
    for image, counts in ours.items():
        rows = [[t, *c] if with_threshold else list(c) for t, c in zip(settings.thresholds, counts.T)]
        (tmp_path / name.format(image)).write_text('\n'.join(' '.join(f'{v:10g}' for v in row) for row in rows))
    read = BoundaryCounts.read_folder(tmp_path, settings)
    assert read.metrics() == BoundaryCounts(settings, ours).metrics()
    options = dict(protocol='bsds', thresholds=5, published_counts=str(tmp_path))
    table = evaluate_command(**options)
    assert '2 images' in table and f'{read.metrics()["ODS"]["F"]:8.6f}' in table
    (tmp_path / 'one.list').write_text('im1\n')
    assert '1 images' in evaluate_command(image_list=str(tmp_path / 'one.list'), **options)
    (tmp_path / 'one.list').write_text('im7\n')
    with pytest.raises(ConfigError, match='no counts of 1 images: im7'):
        evaluate_command(image_list=str(tmp_path / 'one.list'), **options)
    for wrong in (dict(options, pred_dir='a'), dict(options, pred_dir='a', gt_dir='b'), dict(pred_dir='a'), {}):
        with pytest.raises(ConfigError, match='give PRED_DIR and GT_DIR, or --published-counts'):
            evaluate_command(**wrong)
    with pytest.raises(ConfigError, match='expected 2 lines'):
        BoundaryCounts.read_folder(tmp_path, protocol_settings('bsds', thresholds=(0.3, 0.4)))
    (tmp_path / name.format('im0')).write_text('\n'.join(['9 1 2 3 4'] * 5 if with_threshold else ['3 1 2 3'] * 5))
    with pytest.raises(ConfigError, match='are not those of the protocol' if with_threshold else 'whole numbers'):
        BoundaryCounts.read_folder(tmp_path, settings)


def test_ultrametric_contour_maps(tmp_path):
    value = make_pair(0)[0] / 255.0
    double = np.zeros((2 * value.shape[0] + 1, 2 * value.shape[1] + 1))
    double[2::2, 2::2] = value
    savemat(tmp_path / 'a.mat', {'ucm2': double})
    np.testing.assert_array_equal(read_prediction(tmp_path / 'a.mat'), value)


def test_prediction_formats(tmp_path):
    value = make_pair(0)[0]
    cv2.imwrite(str(tmp_path / 'a.png'), value)
    cv2.imwrite(str(tmp_path / 'wide.png'), value.astype(np.uint16) * 257)
    np.save(tmp_path / 'a.npy', (value / np.float32(255))[None])
    assert read_prediction(tmp_path / 'a.png').dtype == np.uint8
    np.testing.assert_array_equal(read_prediction(tmp_path / 'a.png'), value)
    np.testing.assert_allclose(read_prediction(tmp_path / 'wide.png'), value / 255, rtol=1e-15)
    assert read_prediction(tmp_path / 'a.npy').shape == value.shape
    np.save(tmp_path / 'bytes.npy', value)
    np.testing.assert_array_equal(read_prediction(tmp_path / 'bytes.npy'), value)
    few = Image.fromarray(np.array([[0, 0, 200, 200]] * 4, np.uint8))
    few.quantize(2).save(tmp_path / 'ids.png')  # what a program that compresses pictures makes of it
    few.point(lambda x: x > 0, '1').save(tmp_path / 'bits.png')
    np.testing.assert_array_equal(read_prediction(tmp_path / 'ids.png'), np.array(few))
    np.testing.assert_array_equal(read_prediction(tmp_path / 'bits.png'), np.array(few) > 0)
    white_first = Image.fromarray(np.array([[1, 1, 0, 0]] * 4, np.uint8), 'P')
    white_first.putpalette([255, 255, 255, 0, 0, 0])
    white_first.save(tmp_path / 'white.png')
    np.testing.assert_array_equal(read_labels(tmp_path / 'white.png')[0], np.array(few) > 0)
    np.save(tmp_path / 'b.npy', np.zeros((3, 4, 5)))
    np.save(tmp_path / 'c.npy', np.zeros((4, 5), np.int64))
    (tmp_path / 'd.png').write_bytes(b'no picture')
    cv2.imwrite(str(tmp_path / 'e.png'), np.random.default_rng(0).integers(0, 255, (4, 5, 3)))
    mistakes = {
        'b.npy': r'found shape \(3, 4, 5\)',
        'c.npy': 'found int64',
        'd.png': 'expected a picture',
        'e.png': r'found shape \(4, 5, 3\)',
    }
    for name, text in mistakes.items():
        with pytest.raises(ValueError, match=f'{name}: .*{text}'):
            read_prediction(tmp_path / name)


@pytest.mark.parametrize('processes', [1, 2])
def test_a_folder_is_the_sum_of_its_images(folders, processes):
    counts = evaluate_folder(*folders, SETTINGS, processes=processes, progress=False)
    assert list(counts.images) == [f'im{i}' for i in range(5)]
    for i in range(5):
        value, label = make_pair(i)
        np.testing.assert_array_equal(counts.images[f'im{i}'], image_counts(value, [label], SETTINGS))
    figures = counts.metrics()
    total = sum(counts.images.values())
    assert figures['images'] == 5 and len(figures['thresholds']) == 3
    assert figures['thresholds'][1]['R'] == total[0, 1] / total[1, 1]
    assert figures['thresholds'][1]['P'] == total[2, 1] / total[3, 1]
    assert figures['ODS']['F'] == max(row['F'] for row in figures['thresholds'])
    assert figures['OIS']['F'] >= figures['ODS']['F'] - 1e-12
    assert set(figures['per_image']) == set(counts.images)


def test_the_metric_gives_the_same_figures(folders):
    """The registered metric, on floats, against the files, in 8 bits."""
    tasks = build_tasks(
        dict(
            boundary=dict(
                type='Boundary',
                metric=dict(type='BoundaryMeasure', protocol='mti', max_dist=0.03, thresholds=[0.3, 0.5, 0.7]),
            )
        )
    )
    metric = MultiTaskMetric()
    metric.dataset_meta = dict(tasks=tasks)
    for i in range(5):
        value, label = make_pair(i)
        pred = value[None] / np.float32(255) + np.float32(1e-4)
        metric.process({}, [dict(sample_id=f'im{i}', gt={'boundary': label * 1}, pred={'boundary': pred})])
    figures = evaluate_folder(*folders, SETTINGS, progress=False).metrics()
    assert metric.evaluate(5) == {
        'boundary/odsF_mti': figures['ODS']['F'],
        'boundary/oisF_mti': figures['OIS']['F'],
        'boundary/AP_mti': figures['AP'],
    }


def test_options_of_the_metric(tmp_path):
    value, label = make_pair(3)
    plain, doubled = BoundaryMeasure(), BoundaryMeasure(label='regions')
    gt = label.astype(np.int64)
    wanted = image_counts(value / 255, [segmentation_boundary(label)], plain.settings)
    np.testing.assert_array_equal(doubled.measure(value[None] / 255, gt)['counts'], wanted)
    assert (plain.measure(value[None] / 255, gt)['counts'] != wanted).any()
    gt[:16] = 255
    half = BoundaryMeasure(protocol='mti').measure(np.ones((1, 32, 44), np.float32), gt)
    assert half['counts'][1].max() <= label[16:].sum()
    assert BoundaryMeasure().measure(value[None] / 255, np.full_like(gt, 255))['images'] == 0
    (tmp_path / 'ids.txt').write_text('# the list\nim2\n\nim4\n')
    listed = BoundaryMeasure(image_list=str(tmp_path / 'ids.txt'))
    assert listed.includes('im2') and not listed.includes('im3') and plain.includes('im3')
    with pytest.raises(ConfigError, match="label='edges' is not one of contours, regions"):
        BoundaryMeasure(label='edges')
    with pytest.raises(FileNotFoundError, match='no list of images'):
        BoundaryMeasure(image_list=str(tmp_path / 'none.txt'))
    (tmp_path / 'empty.txt').write_text('\n')
    with pytest.raises(ValueError, match='is empty'):
        BoundaryMeasure(image_list=str(tmp_path / 'empty.txt'))


def test_an_image_list_in_an_evaluation(capsys):
    tasks = build_tasks(
        dict(
            boundary=dict(
                type='Boundary',
                metric=dict(type='BoundaryMeasure', thresholds=[0.3, 0.5], image_list=['im1', 'im3', 'im9']),
            )
        )
    )

    def evaluate(chosen):
        metric = MultiTaskMetric()
        metric.dataset_meta = dict(tasks=tasks)
        for i in chosen:
            value, label = make_pair(i)
            metric.process(
                {}, [dict(sample_id=f'im{i}', gt={'boundary': label * 1}, pred={'boundary': value[None] / 255})]
            )
        return metric.evaluate(len(chosen))

    assert evaluate([0, 1, 2, 3]) == evaluate([1, 3])
    assert "task 'boundary' measured 2 of the 3 images in its image_list: sample ids" in capsys.readouterr().out


def test_counts_are_kept_and_merged(folders, tmp_path):
    whole = evaluate_folder(*folders, SETTINGS, progress=False)
    parts = [
        evaluate_folder(*folders, SETTINGS, image_list=ids, progress=False)
        for ids in (['im4', 'im0'], ['im1', 'im2', 'im3'])
    ]
    for i, part in enumerate(parts):
        part.save(tmp_path / f'{i}.json')
    merged = BoundaryCounts.load(tmp_path / '0.json').merge(BoundaryCounts.load(tmp_path / '1.json'))
    assert merged.settings == SETTINGS and merged.metrics() == whole.metrics()
    assert not list(tmp_path.glob('*.part'))
    # what is known is not computed again
    marked = {'im0': np.full((4, 3), 7)}
    assert (evaluate_folder(*folders, SETTINGS, known=marked, progress=False).images['im0'] == 7).all()
    with pytest.raises(ValueError, match=r"different settings cannot be merged: \{'max_dist': \(0.03, 0.0075\)"):
        merged.merge(BoundaryCounts(protocol_settings('mti', thresholds=SETTINGS.thresholds)))
    with pytest.raises(ValueError, match="disagree about 1 images, for example 'im0'"):
        whole.merge(BoundaryCounts(SETTINGS, marked))
    (tmp_path / 'other.json').write_text('{"a": 1}')
    with pytest.raises(ValueError, match='does not hold boundary counts'):
        BoundaryCounts.load(tmp_path / 'other.json')
    with pytest.raises(ValueError, match='there are no images'):
        BoundaryCounts(SETTINGS).metrics()


def test_gaps_and_sizes_are_errors(folders):
    pred, gt = folders
    (pred / 'im3.png').unlink()
    with pytest.raises(FileNotFoundError, match='1 of 5 images have no prediction in .*: im3'):
        evaluate_folder(pred, gt, SETTINGS)
    with pytest.raises(FileNotFoundError, match='1 of 2 images have no label in .*: im7'):
        evaluate_folder(pred, gt, SETTINGS, image_list=['im0', 'im7'])
    with pytest.raises(FileNotFoundError, match='there is no folder'):
        evaluate_folder(pred / 'x', gt, SETTINGS)
    cv2.imwrite(str(pred / 'im3.png'), make_pair(3)[0].T)
    with pytest.raises(ValueError, match=r'im3.png is 44 x 32, .*im3.png is 32 x 44 .*one of them is rotated'):
        evaluate_folder(pred, gt, SETTINGS, progress=False)


def test_the_command_keeps_counts_and_writes_figures(folders, tmp_path):
    options = dict(protocol='mti', max_dist=0.03, thresholds=3, counts=str(tmp_path / 'c.json'))
    (tmp_path / 'list.txt').write_text('im0\nim1\n')
    evaluate_command(*map(str, folders), image_list=str(tmp_path / 'list.txt'), **options)
    assert set(BoundaryCounts.load(tmp_path / 'c.json').images) == {'im0', 'im1'}
    text = evaluate_command(*map(str, folders), out=str(tmp_path / 'f.json'), **options)
    assert len(BoundaryCounts.load(tmp_path / 'c.json').images) == 5
    figures = json.loads((tmp_path / 'f.json').read_text())
    assert figures['protocol'] == 'mti' and figures['images'] == 5
    assert text.startswith('protocol mti, non-maxima kept, max_dist 0.03, 5 images\n')
    rows = re.findall(r'^ +(0\.\d+) +(\S+) +(\S+) +(\S+)$', text, re.M)
    assert [float(r[0]) for r in rows] == [0.25, 0.5, 0.75]
    assert float(re.search(r'^ODS .* (\S+)$', text, re.M)[1]) == pytest.approx(figures['ODS']['F'], abs=1e-6)
    # two sets of images can be added
    (tmp_path / 'one.txt').write_text('im4\n')
    both = evaluate_command(
        *map(str, folders),
        image_list=str(tmp_path / 'one.txt'),
        merge=[str(tmp_path / 'c.json')],
        protocol='mti',
        max_dist=0.03,
        thresholds=3,
    )
    assert both == text


def test_kept_counts_are_of_the_files_that_were_counted(folders, tmp_path):
    pred, gt = folders
    options = dict(protocol='mti', max_dist=0.03, thresholds=3)
    first = evaluate_command(str(pred), str(gt), counts=str(tmp_path / 'c.json'), **options)
    cv2.imwrite(str(pred / 'im0.png'), make_pair(0)[0] * 0)
    again = evaluate_command(str(pred), str(gt), counts=str(tmp_path / 'c.json'), **options)
    assert again == evaluate_command(str(pred), str(gt), **options) != first
    np.save(pred / 'im1.npy', np.full((32, 44), np.nan))
    with pytest.raises(
        ValueError, match='im1.npy.* and .*im1.png are of one image|im1.png and .*im1.npy are of one image'
    ):
        evaluate_command(str(pred), str(gt), **options)
    (pred / 'im1.png').unlink()
    with pytest.raises(ValueError, match=r'im1.npy: expected probabilities in \[0, 1\], found nan'):
        evaluate_command(str(pred), str(gt), processes=1, **options)


def test_the_script(folders, root_dir, shared_dir):
    bench = shared_dir / 'data' / 'boundary_reference' / 'BSDS500_bench'

    def call(*arguments):
        script = 'tools/analysis_tools/eval_boundary.py'
        command = [sys.executable, script, *map(str, arguments)]
        return subprocess.run(command, cwd=root_dir, capture_output=True, text=True, timeout=300)

    done = call(bench / 'png', bench / 'groundTruth', '--protocol', 'bsds', '--thresholds', 5)
    assert done.returncode == 0, done.stderr
    rows = np.array(re.findall(r'^ +(0\.\d+) +(\S+) +(\S+) +(\S+)$', done.stdout, re.M), float)
    np.testing.assert_allclose(rows, np.loadtxt(bench / 'test_2' / 'eval_bdry_thr.txt'), atol=1e-3)
    wrong = call(*folders, '--protocol', 'seism')
    assert wrong.returncode != 0 and "protocol must be one of atrc, mti, bsds, got 'seism'" in wrong.stderr
