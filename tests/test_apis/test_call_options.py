"""What may be chosen at every call: tasks, steps, seed, ensemble, size; and what is saved besides."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch

from mmmtl.apis import Inferencer, infer_files, init_model
from mmmtl.commands import main
from mmmtl.config import load_config
from mmmtl.datasets.io import video
from mmmtl.datasets.io.inputs import gather_inputs
from mmmtl.errors import ConfigError, InputError
from mmmtl.models.ensemble import Ensemble
from mmmtl.models.tta import TestTimeAugmentation
from mmmtl.visualization.video import VideoWriter
from tests.tiny_config import write_config


@pytest.fixture(scope='module')
def inferencer(tmp_path_factory):
    """A TaskDiffusion with random weights, for four tasks."""
    options = {
        'model.decoder': dict(type='TaskDiffusionDecoder', steps=2, _delete_=True),
        'tasks.normals.type': 'SurfaceNormals',
    }
    torch.manual_seed(0)
    return Inferencer(init_model(load_config(write_config(tmp_path_factory.mktemp('options')), options)))


@pytest.fixture(scope='module')
def plain(trained):
    return Inferencer(trained.parent / 'tiny.py', str(trained / 'iter_4.pth'), device='cpu')


def pictures(count=3, size=(32, 32)):
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*size, 3), np.uint8) for _ in range(count)]


def same(a, b):
    return all(np.array_equal(x.pred[n], y.pred[n]) for x, y in zip(a, b, strict=True) for n in x.pred)


def test_the_same_seed_gives_the_same_bits_for_any_batch(inferencer):
    first = inferencer(pictures(), seed=3, panels=False)
    assert same(first, inferencer(pictures(), seed=3, batch_size=3, panels=False))
    assert not same(first, inferencer(pictures(), seed=4, panels=False))
    mean = inferencer(pictures(), seed=3, ensemble=3, panels=False)
    assert same(mean, inferencer(pictures(), seed=3, ensemble=3, batch_size=2, panels=False))
    own = inferencer(pictures(1), panels=False)  # the call left no trace, and seed 0 is the config's
    assert same(own, inferencer(pictures(1), seed=0, panels=False)) and inferencer.model.noise_seed == 0


@pytest.mark.parametrize('used, heads', [('inferencer', 2), ('plain', 1)])
def test_fewer_tasks_are_computed_and_given(used, heads, request):
    """TaskDiffusion's steps but the last need all tasks, for the map that they share."""
    used = request.getfixturevalue(used)
    everything = used(pictures(1), seed=0, panels=False)[0]
    ran: list[str] = []
    hooks = [b.register_forward_hook(lambda *_, n=n: ran.append(n)) for n, b in used.model.decoder.branches.items()]
    some = used(pictures(1), tasks=['boundary', 'semseg'], seed=0)[0]
    for hook in hooks:
        hook.remove()
    assert list(some.pred) == ['boundary', 'semseg'] and some.panel is not None
    assert (ran.count('boundary'), ran.count('depth')) == (heads, heads - 1)
    for name, value in some.pred.items():
        np.testing.assert_array_equal(value, everything.pred[name])


def test_steps_are_those_of_the_call(inferencer):
    ran = []
    hook = inferencer.model.decoder.denoiser.register_forward_hook(lambda *_: ran.append(1))
    counts = []
    for steps in (1, 4, None):
        inferencer(pictures(1), steps=steps, panels=False)
        counts.append(len(ran))
        ran.clear()
    hook.remove()
    assert counts == [1, 4, 2] and inferencer.model.decoder.sampling_steps == 2


def test_an_ensemble_is_mean_and_spread_of_its_members(inferencer, tmp_path):
    members = [inferencer(pictures(1), seed=5 + k, panels=False)[0].pred for k in range(4)]
    result = inferencer(pictures(1), seed=5, ensemble=4, out_dir=str(tmp_path))[0]
    depth = np.stack([m['depth'] for m in members])
    np.testing.assert_allclose(result.pred['depth'], depth.mean(0), atol=1e-5)
    np.testing.assert_allclose(result.uncertainty['depth'], depth.std(0), atol=1e-5)
    vectors = np.stack([m['normals'] for m in members])
    resultant = np.linalg.norm(vectors.astype(np.float64).mean(0), axis=0)
    np.testing.assert_allclose(np.linalg.norm(result.pred['normals'], axis=0), 1, atol=1e-5)
    expected = np.degrees(np.sqrt(-2 * np.log(np.clip(resultant, 1e-12, 1))))[None]
    np.testing.assert_allclose(result.uncertainty['normals'], expected.clip(0, 180), atol=0.1)
    edge = np.stack([m['boundary'] for m in members]).mean(0)
    np.testing.assert_allclose(result.pred['boundary'], edge, atol=1e-5)
    entropy = -(edge * np.log2(edge) + (1 - edge) * np.log2(1 - edge))
    np.testing.assert_allclose(result.uncertainty['boundary'], entropy, atol=1e-4)
    for name, spread in result.uncertainty.items():
        assert spread.shape == (1, 32, 32) and spread.dtype == np.float32 and spread.min() >= 0, name
        saved = np.load(tmp_path / 'uncertainty' / name / 'array_0000.npy')
        np.testing.assert_array_equal(saved, spread)
    without = inferencer(pictures(1), seed=5)[0]
    assert result.panel.shape != without.panel.shape and without.uncertainty is None


def test_size_of_the_call(inferencer):
    seen = []
    hook = inferencer.model.backbone.register_forward_pre_hook(lambda m, x: seen.append(tuple(x[0].shape[-2:])))
    image = pictures(1, (40, 80))
    for max_side in (32, 0, None):
        assert inferencer(image, max_side=max_side, panels=False)[0].pred['depth'].shape == (1, 40, 80)
    hook.remove()
    assert seen == [(16, 32), (40, 80), (32, 64)]


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(tasks=['depht']), r"has no task 'depht', only semseg, depth, boundary, normals. Did you mean 'depth'"),
        (dict(tasks='depth'), "tasks must be a list of names, got 'depth'"),
        (dict(tasks=[]), 'tasks is empty'),
        (dict(tasks=['depth', 'depth']), 'given twice'),
        (dict(steps=0), 'steps must be at least 1, a whole number, got 0'),
        (dict(steps=2.5), 'steps must be at least 1'),
        (dict(seed=-1), 'seed must be at least 0'),
        (dict(seed=2**64), r'seed must be below 2\^62'),
        (dict(tasks=(name for name in ('depth', 'depht'))), "has no task 'depht'"),
        (dict(ensemble=0), 'ensemble must be at least 1'),
        (dict(max_side=-4), 'max_side must be at least 0'),
        (dict(save=['ply']), 'save writes into a folder: give out_dir'),
        (dict(save=['obj'], out_dir='x'), "save: 'obj' is none of ply, png16, png"),
        (dict(save=['ply'], out_dir='x', tasks=['semseg']), 'no task tells distances'),
        (dict(save=['ply'], out_dir='x', intrinsics=(1, 2, 3)), 'intrinsics must be fx, fy, cx, cy'),
        (dict(save=['ply'], out_dir='x', fov=180), 'fov must be between 0 and 180'),
        (dict(fov=60), 'for point clouds: say save'),
    ],
)
def test_what_cannot_be_chosen_is_named(inferencer, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=words):
        inferencer(pictures(1), **options)
    assert not list(tmp_path.iterdir())


def test_a_network_without_noise_or_steps_says_so(plain, tmp_path):
    with pytest.raises(ConfigError, match='steps=3: PlainDecoder has no number of sampling steps to choose'):
        plain(pictures(1), steps=3)
    with pytest.raises(ConfigError, match=r'ensemble=2: .* \(PlainDecoder\) are the same for every noise seed'):
        plain(pictures(1), ensemble=2, out_dir=str(tmp_path))
    assert not list(tmp_path.iterdir())
    for option in (dict(ensemble=2), dict(explain=True, out_dir=str(tmp_path))):
        with pytest.raises(ConfigError, match="not with fit='tile'"):
            Inferencer(plain.model, fit='tile')(pictures(1), **option)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain.model, 'tta', TestTimeAugmentation())
        with pytest.raises(ConfigError, match="fit='tile': tiles are predicted from one view"):
            Inferencer(plain.model, fit='tile')


def test_point_clouds_and_16_bits_are_saved(inferencer, tmp_path):
    result = inferencer(pictures(1), out_dir=str(tmp_path), save=['ply', 'png16'], fov=90, panels=False, raw=False)[0]
    head = (tmp_path / 'points/depth/array_0000.ply').read_bytes().partition(b'end_header\n')[0].decode()
    assert 'fx 16 fy 16 cx 15.5 cy 15.5' in head and 'property float nx' in head
    picture = cv2.imread(str(tmp_path / 'png16/depth/array_0000.png'), cv2.IMREAD_UNCHANGED)
    rule = __import__('json').loads((tmp_path / 'png16/depth/array_0000.json').read_text())
    assert picture.dtype == np.uint16 and rule['unit'] == 'm'
    found = rule['offset'] + rule['scale'] * picture.astype(np.float64)
    np.testing.assert_allclose(found, result.pred['depth'][0], atol=rule['scale'])
    assert len(result.files) == 8


# ---- videos and cameras ----
def frames_of(images):
    return ((item, item.load()[0]) for item in gather_inputs(images))


def test_a_video_is_smoothed_as_the_task_averages(inferencer):
    images = pictures(3)
    plain = [r.pred for r in inferencer.stream_video(frames_of(images), seed=1)]
    found = [
        r.pred for r in inferencer.stream_video(frames_of(images), seed=1, smooth=0.75, tasks=['depth', 'normals'])
    ]
    depth, vectors = plain[0]['depth'], plain[0]['normals']
    for now, smoothed in zip(plain[1:], found[1:]):
        depth, vectors = 0.75 * depth + 0.25 * now['depth'], 0.75 * vectors + 0.25 * now['normals']
        np.testing.assert_allclose(smoothed['depth'], depth, atol=1e-5)
        np.testing.assert_allclose(smoothed['normals'], vectors / np.linalg.norm(vectors, axis=0), atol=1e-4)
        assert set(smoothed) == {'depth', 'normals'}
    np.testing.assert_array_equal(found[0]['depth'], plain[0]['depth'])
    with pytest.raises(ConfigError, match=r'smooth must be in \[0, 1\)'):
        next(inferencer.stream_video(frames_of(images), smooth=1.0))
    with pytest.raises(ConfigError, match='ensemble=2 is for single images'):
        next(inferencer.stream_video(frames_of(images), ensemble=2))


def test_options_of_a_video_do_not_outlive_a_frame(inferencer):
    stream = inferencer.stream_video(frames_of(pictures(3)), steps=3, seed=9)
    next(stream)
    assert inferencer.model.decoder.sampling_steps == 2 and inferencer.model.noise_seed == 0


class Camera:
    """Stands in for OpenCV's camera 1 with five frames."""

    def __init__(self, source):
        self.frames = iter(pictures(5)) if source == 1 else None

    def isOpened(self):  # noqa: N802
        return self.frames is not None

    def read(self):
        frame = next(self.frames, None)
        return frame is not None, frame

    def release(self):
        self.frames = iter(())


def test_a_camera_is_a_video_that_ends_when_asked(inferencer, tmp_path, monkeypatch):
    opened = cv2.VideoCapture
    monkeypatch.setattr(
        video.cv2, 'VideoCapture', lambda source: Camera(source) if isinstance(source, int) else opened(source)
    )
    line = infer_files(inferencer, ['camera:1'], str(tmp_path), raw=False, frames=2, tasks=['depth'], smooth=0.5)
    assert line == f'2 frames, 2 files in {tmp_path}, video: {tmp_path / "camera_1.mp4"}'
    assert len(list(video.VideoReader(tmp_path / 'camera_1.mp4'))) == 2
    with pytest.raises(InputError, match='camera:4: there is no such camera'):
        infer_files(inferencer, [4], str(tmp_path / 'none'))
    with pytest.raises(InputError, match='camera:1: the camera gives no more frames'):
        infer_files(inferencer, ['camera:1'], str(tmp_path / 'all'), raw=False)

    def interrupt(*_):
        raise KeyboardInterrupt

    writes = VideoWriter.add
    monkeypatch.setattr(
        VideoWriter, 'add', lambda self, picture: interrupt() if self.count == 3 else writes(self, picture)
    )
    assert infer_files(inferencer, ['camera:1'], str(tmp_path / 'cut'), raw=False).startswith('4 frames, 4 files')
    assert len(list(video.VideoReader(tmp_path / 'cut/camera_1.mp4'))) == 3
    with pytest.raises(ConfigError, match='smooth, frames and fps are for videos'):
        infer_files(inferencer, ['camera1.png'], str(tmp_path), frames=2)


def test_the_spread_of_one_prediction_is_nothing(inferencer):
    ensemble = Ensemble(inferencer.model)
    raw = torch.randn(1, 1, 4, 4).abs()
    ensemble(inferencer.tasks['depth'], raw, (4, 4))
    assert not ensemble.varies and float(ensemble.spreads()['depth'].max()) == 0


def test_the_command_has_the_same_options(trained, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / 'a.png'), pictures(1)[0])
    words = ['infer', str(trained.parent / 'tiny.py'), str(trained / 'iter_4.pth'), str(tmp_path / 'a.png')]
    words += ['--out', str(tmp_path / 'out'), '--tasks', 'depth', '--seed', '1', '--max-side', '16', '--no-panels']
    main([*words, '--save', 'ply', 'png16', '--intrinsics', '20,21,15,16', '--dtype', 'bf16'])
    assert '1 images, 4 files' in capsys.readouterr().out
    written = {p.relative_to(tmp_path / 'out').as_posix() for p in (tmp_path / 'out').rglob('*.*')}
    stems = {'predictions/depth/a.npy', 'points/depth/a.ply', 'png16/depth/a.png', 'png16/depth/a.json'}
    assert written == stems and b'fx 20 fy 21 cx 15 cy 16' in (tmp_path / 'out/points/depth/a.ply').read_bytes()
    for option, words_of in (
        ('--intrinsics 1;2', 'expected numbers with commas'),
        ('--steps 3', 'no number of sampling'),
    ):
        with pytest.raises(SystemExit):
            main([*words, *option.split()])
        assert words_of in capsys.readouterr().err


def test_threads_that_share_a_network_get_their_own_options(inferencer):
    image = pictures(1)[0]

    def call(seed: int) -> np.ndarray:
        return inferencer([image], seed=seed, steps=1 + seed % 2, panels=False, progress=False)[0].pred['normals']

    alone = [call(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(call, range(4)))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together))
    assert not np.array_equal(alone[0], alone[2])
