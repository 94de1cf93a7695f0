"""A panel shows the photograph and every task's truth and prediction where one expects them."""

from __future__ import annotations

import os

import numpy as np
import pytest

from mmmtl.structures import MTLDataSample
from mmmtl.tasks import Boundary, Depth, build_tasks
from mmmtl.tasks.base import UNKNOWN_COLOURS, task_title
from mmmtl.visualization import PanelVisualizer, draw_panel, draw_rows, panel_of_sample, panel_visualizer
from mmmtl.visualization.canvas import PAPER, load_font, wrap_words
from mmmtl.visualization.legends import LegendBlock, format_value
from mmmtl.visualization.panel import choose_columns, split_bands
from mmmtl.visualization.uncertainty import draw_spread

HEIGHT, WIDTH = 24, 32
RED, BLUE = (200, 10, 20), (10, 20, 200)


@pytest.fixture
def tasks():
    return build_tasks(
        dict(
            semseg=dict(type='SemanticSegmentation', classes=['ground', 'thing'], palette=[RED, BLUE]),
            depth=dict(type='Depth'),
            normals=dict(type='SurfaceNormals'),
            boundary=dict(type='Boundary'),
        )
    )


@pytest.fixture
def maps():
    semseg = np.zeros((HEIGHT, WIDTH), np.int64)
    semseg[:, WIDTH // 2 :] = 1
    normals = np.zeros((3, HEIGHT, WIDTH), np.float32)
    normals[2] = 1
    return dict(
        semseg=semseg,
        depth=np.linspace(1, 5, HEIGHT * WIDTH, dtype=np.float32).reshape(1, HEIGHT, WIDTH),
        normals=normals,
        boundary=np.zeros((HEIGHT, WIDTH), np.int64),
    )


def photograph(colour=(90, 160, 60)):
    return np.full((HEIGHT, WIDTH, 3), colour, np.uint8)


def area_of(panel, colour):
    return int((panel == np.array(colour, np.uint8)).all(-1).sum())


def test_every_picture_is_there_in_its_size(tasks, maps):
    cell = 64
    both = draw_panel(photograph(), tasks, maps, maps, cell_width=cell)
    size = cell * cell * HEIGHT // WIDTH
    assert area_of(both, (90, 160, 60)) >= 4 * size  # the photograph spans two cells each way
    for colour in (RED, BLUE):  # half a cell in truth and prediction each, and a swatch
        assert size <= area_of(both, colour) <= size * 1.2
    alone = draw_panel(photograph(), tasks, None, maps, cell_width=cell)
    assert area_of(alone, RED) < size and area_of(alone, (90, 160, 60)) < 1.2 * size


def test_a_missing_label_is_said_and_not_drawn_as_zeros(tasks, maps):
    full = draw_panel(photograph(), tasks, maps, maps)
    without = draw_panel(photograph(), tasks, {k: v for k, v in maps.items() if k != 'semseg'}, maps)
    unknown = draw_panel(photograph(), tasks, dict(maps, semseg=np.full_like(maps['semseg'], 255)), maps)
    assert area_of(without, RED) < 0.6 * area_of(full, RED)
    np.testing.assert_array_equal(without, unknown)


def test_a_prediction_is_drawn_in_the_range_of_its_truth(tasks, maps):
    only = {'depth': tasks['depth']}
    twice = dict(depth=maps['depth'] * 2)
    same = draw_panel(photograph(), only, dict(depth=maps['depth']), dict(depth=maps['depth']), title='t')
    other = draw_panel(photograph(), only, dict(depth=maps['depth']), twice, title='t')
    rows = same.shape[0] // 2
    np.testing.assert_array_equal(same[: rows // 2], other[: rows // 2])  # the truth does not change
    assert not np.array_equal(same, other)


def test_drawing_is_deterministic_and_leaves_its_arguments_alone(tasks, maps):
    before = {k: v.copy() for k, v in maps.items()}
    first, second = (draw_panel(photograph(), tasks, maps, maps, title='x', subtitle='y') for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert all(np.array_equal(maps[k], before[k]) for k in maps)


@pytest.mark.parametrize('count', range(1, 11))
@pytest.mark.parametrize('rows', [1, 2])
def test_any_number_of_tasks_is_laid_out_completely(count, rows):
    tasks = build_tasks({f't{i}': dict(type='Depth') for i in range(count)})
    depth = np.ones((1, HEIGHT, WIDTH), np.float32) * np.linspace(1, 2, WIDTH, dtype=np.float32)
    maps = dict.fromkeys(tasks, depth)
    panel = draw_panel(photograph(), tasks, maps if rows == 2 else None, maps, cell_width=48)
    assert panel.ndim == 3 and 0.2 < panel.shape[1] / panel.shape[0] < 6
    assert (panel[:, -8:] == PAPER).all() and (panel[-8:] == PAPER).all()  # nothing runs over the margin


def test_bands_hold_every_task_once():
    for count in range(1, 12):
        for span in (1, 2):
            names = list(range(count))
            from mmmtl.visualization.panel import Style

            grid = choose_columns(count, span, 2, Style((64, 48)))
            assert [n for band in split_bands(names, span, grid) for n in band] == names


def test_both_frames_of_a_pair_are_shown(tasks, maps):
    second = photograph((10, 220, 230))
    for gt in (maps, None):
        panel = draw_panel(photograph(), tasks, gt, maps, image_next=second)
        assert area_of(panel, (90, 160, 60)) > 1000 and area_of(panel, (10, 220, 230)) > 1000


def test_a_long_legend_is_cut_and_counted():
    tasks = build_tasks(
        dict(semseg=dict(type='SemanticSegmentation', classes=[f'a rather long name {i}' for i in range(60)]))
    )
    label = np.arange(60, dtype=np.int64).reshape(6, 10)
    block = LegendBlock(tasks['semseg'].legend(label), 200, 11)
    assert len(block.entries) <= 7 and block.entries[-1][0][1] == f'and {60 - sum(map(len, block.entries[:-1]))} more'


def test_unknown_pixels_get_a_legend_entry(tasks, maps):
    from mmmtl.visualization.panel import read_legend

    label = maps['semseg'].copy()
    assert [n for n, _ in read_legend(tasks['semseg'], label, label).entries] == ['ground', 'thing']
    label[0] = 255
    assert [n for n, _ in read_legend(tasks['semseg'], label, label).entries] == ['ground', 'thing', 'unknown']


def test_unknown_pixels_look_like_nothing_else():
    """Neither black nor any colour of the picture, in every task that has unknown pixels, and named in its legend."""
    from mmmtl.registry import TASKS
    from mmmtl.tasks.base import UNKNOWN_COLOURS
    from mmmtl.visualization.panel import read_legend

    tasks = build_tasks(
        {
            kind.default_name: dict(type=name, **(dict(classes=5) if name == 'SemanticSegmentation' else {}))
            for name, kind in TASKS.module_dict.items()
            if getattr(kind, 'default_name', '') and kind.__module__.startswith('mmmtl.')
        }
    )
    assert len(tasks) >= 10
    for name, task in tasks.items():
        label = np.zeros(task.blank((40, 40)).shape, task.blank((1, 1)).dtype)
        label[..., :, 20:] = task.blank((40, 20))
        picture = task.colorize(label)
        found = {tuple(c) for c in picture[:, 20:].reshape(-1, 3).tolist()}
        assert found == set(UNKNOWN_COLOURS), name
        assert not found & {tuple(c) for c in picture[:, :20].reshape(-1, 3).tolist()}, name
        assert read_legend(task, label, label).entries[-1] == ('unknown', UNKNOWN_COLOURS[0]), name


def test_what_is_no_number_is_drawn_as_unknown():
    nothing = np.full((1, 8, 8), np.nan, np.float32)
    for picture in (Boundary().colorize(nothing), draw_spread(Depth(), nothing)[0]):
        assert set(map(tuple, picture.reshape(-1, 3).tolist())) == set(UNKNOWN_COLOURS)


def test_rows_of_several_runs(tasks, maps):
    rows = {'ground truth': maps, 'run a': maps, 'run b': {'depth': maps['depth'] * 2}}
    three, two = draw_rows(photograph(), tasks, rows), draw_panel(photograph(), tasks, maps, maps)
    assert three.shape != two.shape
    same = draw_rows(photograph(), tasks, {'ground truth': maps, 'prediction': maps})
    np.testing.assert_array_equal(same, two)


def test_titles_are_words():
    assert task_title('semseg') == 'Semantic segmentation' and task_title('optical_flow') == 'Optical flow'
    assert task_title('normals') == 'Surface normals' and task_title('my_own_task') == 'My own task'


@pytest.mark.parametrize(
    'value, span, text',
    [
        (0.0, 1, '0'),
        (1.0, 1, '1'),
        (0.5, 1, '0.5'),
        (3.84, 4, '3.8'),
        (-0.001, 1, '0'),
        (63.2, 60, '63'),
        (-2.5, 5, '-2.5'),
        (0.0313, 0.1, '0.031'),
        (0.00123, 0.004, '0.0012'),
        (0.0, 0.004, '0'),
        (10.003, 0.01, '10.003'),
    ],
)
def test_numbers_on_a_bar(value, span, text):
    assert format_value(value, span) == text


def test_text_never_leaves_its_column():
    font = load_font(12)
    for line in wrap_words('a bb incomprehensibilities ccc dddd' * 3, font, 60):
        assert font.getlength(line) <= 60


def sample_of(maps):
    sample = MTLDataSample(metainfo=dict(sample_id='s/1'))
    sample.gt = {k: v for k, v in maps.items() if k != 'normals'}
    sample.pred = maps
    return sample


def test_panels_of_data_samples_equal_those_of_arrays(tasks, maps):
    gt = {k: v for k, v in maps.items() if k != 'normals'}
    np.testing.assert_array_equal(
        panel_of_sample(photograph(), sample_of(maps), tasks), draw_panel(photograph(), tasks, gt, maps, title='s/1')
    )
    np.testing.assert_array_equal(
        panel_of_sample(photograph(), sample_of(maps), tasks, draw_pred=False),
        draw_panel(photograph(), tasks, gt, None, title='s/1'),
    )


def test_the_visualizer_writes_panels_and_feeds_its_backends(tasks, maps, tmp_path):
    import cv2

    visualizer = PanelVisualizer(vis_backends=[dict(type='LocalVisBackend')], save_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"dataset_meta\['tasks'\]"):
        visualizer.add_datasample('a', photograph(), sample_of(maps))
    visualizer.dataset_meta = dict(tasks=tasks)
    visualizer.add_datasample('a', photograph(), sample_of(maps), out_file=str(tmp_path / 'panel.png'))
    expected = panel_of_sample(photograph(), sample_of(maps), tasks)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'panel.png'))[..., ::-1], expected)
    visualizer.add_datasample('a', photograph(), sample_of(maps), step=3)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'vis_data/vis_image/a_3.png'))[..., ::-1], expected)


def test_a_line_of_the_log_that_cannot_be_written_does_not_end_the_run(tmp_path, caplog):
    """``/dev/full`` is a disk without room."""
    if not os.path.exists('/dev/full'):
        pytest.skip('no /dev/full')
    visualizer = PanelVisualizer(vis_backends=[dict(type='LocalVisBackend')], save_dir=str(tmp_path))
    visualizer.add_scalars(dict(loss=1.0), step=1)
    (scalars,) = tmp_path.rglob('scalars.json')
    before = scalars.read_text()
    scalars.unlink()
    scalars.symlink_to('/dev/full')
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panel_visualizer, 'print_log', lambda line, **_: lines.append(line))
        visualizer.add_scalars(dict(loss=2.0), step=2)
    assert lines == ['not written into the log: [Errno 28] No space left on device']
    scalars.unlink()
    visualizer.add_scalars(dict(loss=3.0), step=3)
    assert '1.0' in before and '3.0' in scalars.read_text()
