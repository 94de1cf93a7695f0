"""Images of any size and from anywhere in; predictions at their own size out."""

from __future__ import annotations

import subprocess
import sys
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mmmtl.analysis.benchmark import peak_memory
from mmmtl.apis import Inferencer, infer_files, init_model
from mmmtl.config import load_config
from mmmtl.datasets.io.inputs import gather_inputs
from mmmtl.datasets.io.memory import to_rgb
from mmmtl.errors import ConfigError, FileError, InputError
from mmmtl.models.enlarged_maps import EnlargedMaps
from mmmtl.models.tiles import predict_in_tiles, tile_starts
from mmmtl.tasks import build_tasks
from mmmtl.visualization import read_raw, write_raw

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def inferencer(trained):
    return Inferencer(trained.parent / 'tiny.py', str(trained / 'iter_4.pth'), device='cpu')


def picture(height=32, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    for name, size in (('a.png', (32, 32)), ('b.jpg', (40, 56)), ('sub/c.png', (24, 32))):
        path = tmp_path / 'images' / name
        path.parent.mkdir(exist_ok=True, parents=True)
        cv2.imwrite(str(path), picture(*size))
    (tmp_path / 'images' / 'notes.txt').write_text('no image')
    return tmp_path / 'images'


def test_predictions_have_the_size_of_the_image(inferencer):
    for size in ((32, 32), (40, 56), (64, 24)):
        result = inferencer(picture(*size))[0]
        assert result.pred['semseg'].shape == size and result.pred['semseg'].dtype == np.int64
        assert result.pred['depth'].shape == result.pred['boundary'].shape == (1, *size)
        assert result.panel.dtype == np.uint8 and result.panel.shape[2] == 3


def test_paths_patterns_folders_arrays_and_lists(inferencer, folder):
    assert [r.sample_id for r in inferencer(str(folder / 'a.png'))] == ['a']
    assert [r.sample_id for r in inferencer(folder)] == ['a', 'b', 'c']
    assert [r.sample_id for r in inferencer(str(folder / '*.png'))] == ['a']
    assert [r.sample_id for r in inferencer(str(folder / '**' / '*.png'))] == ['a', 'c']
    mixed = inferencer([picture(), folder / 'b.jpg'])
    assert [(r.sample_id, bool(r.path)) for r in mixed] == [('array_0000', False), ('b', True)]


def test_a_prediction_does_not_depend_on_its_company(inferencer, folder):
    alone = {r.sample_id: r.pred for name in ('a.png', 'b.jpg') for r in inferencer(folder / name)}
    for batch_size in (1, 3):
        for result in inferencer(folder, batch_size=batch_size)[:2]:
            for name, value in result.pred.items():
                np.testing.assert_allclose(value, alone[result.sample_id][name], atol=1e-5)


def test_files_are_written_without_loss(inferencer, folder, tmp_path):
    results = inferencer(folder, out_dir=str(tmp_path / 'out'))
    assert len([p for p in (tmp_path / 'out').rglob('*') if p.is_file()]) == sum(len(r.files) for r in results) == 12
    for result in results:
        seen = read_raw(str(tmp_path / 'out/predictions/semseg' / f'{result.sample_id}.png'))
        np.testing.assert_array_equal(seen[0], result.pred['semseg'])
        seen = read_raw(str(tmp_path / 'out/predictions/depth' / f'{result.sample_id}.npy'))
        np.testing.assert_array_equal(seen, result.pred['depth'])
        panel = cv2.imread(str(tmp_path / 'out/panels' / f'{result.sample_id}.png'))[..., ::-1]
        np.testing.assert_array_equal(panel, result.panel)
    assert not inferencer(folder, out_dir=str(tmp_path / 'none'), panels=False, raw=False)[0].files
    assert not (tmp_path / 'none').exists()


def test_a_network_of_one_size_gets_larger_images_reduced(root_dir, tmp_path):
    options = {
        'model.backbone.pretrained': False,
        'model.backbone.embed_dim': 24,
        'model.backbone.depth': 4,
        'model.backbone.num_heads': 2,
        'model.neck.channels': 12,
        'crop_size': (64, 64),
    }
    model = init_model(root_dir / 'configs/taskdiffusion/vitl_pascal.py', cfg_options=options)
    seen = []
    model.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape[-2:])))
    for size in ((50, 40), (64, 64), (128, 96), (30, 200)):
        result = Inferencer(model)(picture(*size), panels=False)[0]
        assert result.pred['semseg'].shape == size
    assert set(seen) == {(64, 64)}


def test_same_names_in_two_folders_stay_apart(folder, tmp_path):
    (folder / 'sub' / 'a.png').write_bytes((folder / 'a.png').read_bytes())
    assert [i.sample_id for i in gather_inputs(folder)] == ['a', 'b', 'sub/a', 'sub/c']
    twice = gather_inputs([folder / 'a.png', folder / 'a.png'])
    assert len({i.sample_id for i in twice}) == 2


def test_pairs_are_made_of_neighbours(folder):
    pairs = gather_inputs(folder, frames=2)
    assert [(p.sample_id, len(p.frames)) for p in pairs] == [('a', 2)]  # sub/c is of another video
    with pytest.raises(InputError, match='two frames'):
        gather_inputs(folder / 'a.png', frames=2)
    assert [len(p.frames) for p in gather_inputs([folder / 'sub', folder / 'a.png'], frames=2, lone=True)] == [1, 1]
    with pytest.raises(InputError, match='differ in size'):
        pairs[0].load()


def test_a_photograph_is_turned_upright(tmp_path):
    image = Image.fromarray(picture(20, 30))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / 'turned.jpg', exif=exif)
    assert gather_inputs(tmp_path / 'turned.jpg')[0].load()[0].shape == (30, 20, 3)


@pytest.mark.parametrize(
    'make, error, words',
    [
        (lambda d: d / 'aa.png', InputError, "aa.png' does not exist. Did you mean 'a.png'"),
        (lambda d: d / 'nowhere' / 'a.png', InputError, 'does not exist'),
        (lambda d: str(d / '*.gif'), InputError, 'no file matches'),
        (lambda d: d / 'empty', InputError, 'has no images'),
        (lambda d: [], InputError, 'no images given'),
        (lambda d: d / 'notes.txt', FileError, 'expected an image, found a file that cannot be read'),
        (
            lambda d: np.zeros((4, 4, 5), np.uint8),
            InputError,
            r'expected an image, uint8 RGB .* found uint8 \(4, 4, 5\)',
        ),
        (lambda d: np.zeros((4, 0, 3), np.uint8), InputError, 'found uint8'),
        (lambda d: np.full((4, 4, 3), 200.0), InputError, r'floats in \[0, 1\], found float64 from 200 to 200'),
        (lambda d: np.full((4, 4, 3), -1), InputError, 'found int64'),
    ],
)
def test_what_is_no_image_is_named(inferencer, folder, make, error, words):
    (folder / 'empty').mkdir()
    with pytest.raises(error, match=words):
        inferencer(make(folder))


def test_grey_arrays_are_taken(inferencer):
    assert inferencer(picture()[..., 0], panels=False)[0].pred['depth'].shape == (1, 32, 32)


@pytest.mark.parametrize('fit', ['pad', 'resize', 'tile'])
@pytest.mark.parametrize('size', [(30, 33), (7, 200), (1, 1), (131, 47)])
def test_any_size_however_it_is_made_to_fit(trained, fit, size):
    inferencer = Inferencer(trained.parent / 'tiny.py', str(trained / 'iter_4.pth'), device='cpu', fit=fit)
    assert inferencer.sizes.multiple == 8 and inferencer.sizes.training == (32, 32)
    pred = inferencer(picture(*size), panels=False)[0].pred
    assert pred['semseg'].shape == size and pred['depth'].shape == pred['boundary'].shape == (1, *size)
    assert all(np.isfinite(value).all() for value in pred.values())


def test_large_images_are_reduced_to_twice_the_size_of_the_training(inferencer):
    seen = []
    hook = inferencer.model.backbone.register_forward_pre_hook(lambda m, x: seen.append(tuple(x[0].shape[-2:])))
    assert inferencer(picture(300, 400), panels=False)[0].pred['depth'].shape == (1, 300, 400)
    hook.remove()
    assert seen == [(48, 64)]


def test_very_large_images_are_enlarged_task_by_task(trained, monkeypatch, tmp_path):
    inferencer = Inferencer(trained.parent / 'tiny.py', str(trained / 'iter_4.pth'), device='cpu')
    image = picture(200, 300)
    expected = inferencer(image, panels=False)[0].pred
    monkeypatch.setattr('mmmtl.models.enlarged_maps.LARGE', 10000)
    result = inferencer(image, out_dir=str(tmp_path))[0]
    assert result.pred.small['depth'].shape == (1, 43, 64)
    assert set(result.pred) == set(expected) and len(result.files) == 4
    for name, value in result.pred.items():
        assert value.shape == expected[name].shape and value.dtype == expected[name].dtype
    np.testing.assert_allclose(result.pred['depth'], expected['depth'], rtol=0.2, atol=0.2)


def bytes_held_while_writing(folder: str, side: int) -> float:
    """Bytes a pixel that writing enlarged normals and classes takes at its peak."""
    rng = np.random.default_rng(0)
    tasks = build_tasks(dict(semseg=dict(type='SemanticSegmentation', classes=3), normals=dict(type='SurfaceNormals')))
    maps = dict(semseg=rng.integers(0, 3, (1, 40, 40)), normals=rng.normal(size=(3, 40, 40)).astype(np.float32))
    write_raw(folder, 'warm', EnlargedMaps(maps, tasks, (64, 64), compact=True))
    return peak_memory(lambda: write_raw(folder, 'a', EnlargedMaps(maps, tasks, (side, side), compact=True))) / side**2


def test_one_large_map_at_a_time_is_in_memory(tmp_path):
    program = f'from {__name__} import bytes_held_while_writing as f; print(f({str(tmp_path)!r}, 3000))'
    done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, check=True)
    # normals take 12 bytes a pixel, and 4 of a channel on its way; two of them at a time would take 24
    assert 6 < float(done.stdout.splitlines()[-1]) < 23
    assert np.load(tmp_path / 'normals/a.npy', mmap_mode='r').shape == (3, 3000, 3000)


def test_enlarged_normals_are_those_of_one_piece():
    normals = build_tasks(dict(normals=dict(type='SurfaceNormals')))['normals']
    small = torch.randn(1, 3, 20, 30)
    whole = torch.nn.functional.interpolate(small, (700, 40), mode='bilinear', align_corners=False)
    expected = torch.nn.functional.normalize(whole, dim=1)
    torch.testing.assert_close(normals.enlarge_prediction(small, (700, 40)), expected, atol=1e-5, rtol=0)
    assert torch.equal(normals.enlarge_prediction(small, (20, 30)), torch.nn.functional.normalize(small, dim=1))


def test_tiles_of_one_piece_are_the_image_itself(trained):
    """Where one tile holds the image, blending changes nothing; where several do, their seams do not show."""
    whole = Inferencer(trained.parent / 'tiny.py', str(trained / 'iter_4.pth'), device='cpu', max_side=0)
    tiled = Inferencer(whole.model, fit='tile')
    one, two = whole(picture(), panels=False)[0].pred, tiled(picture(), panels=False)[0].pred
    np.testing.assert_array_equal(one['semseg'], two['semseg'])
    np.testing.assert_allclose(one['depth'], two['depth'], rtol=1e-5)
    np.testing.assert_allclose(one['boundary'], two['boundary'], atol=1e-5)
    smooth = np.full((32, 150, 3), 90, np.uint8)
    depth = tiled(smooth, panels=False)[0].pred['depth']
    single = whole(smooth[:, :32], panels=False)[0].pred['depth']
    assert depth.shape == (1, 32, 150) and single.min() - 1e-3 <= depth.min() and depth.max() <= single.max() + 1e-3


def test_tiles_cover_everything_and_overlap():
    for length in (33, 64, 100, 1000):
        starts = tile_starts(length, 32, 0.25)
        assert starts[0] == 0 and starts[-1] == length - 32
        assert all(0 < b - a <= 24 for a, b in zip(starts, starts[1:]))
    assert tile_starts(20, 32, 0.25) == [0]


def test_blended_tiles_weigh_every_pixel_fully():
    """Constant maps stay constant, ids come from mean probabilities, normals have unit length."""
    tasks = build_tasks(
        dict(
            semseg=dict(type='SemanticSegmentation', classes=3),
            saliency=dict(type='Saliency'),
            normals=dict(type='SurfaceNormals'),
            depth=dict(type='Depth'),
        )
    )

    def raw_maps(box):
        top, left, height, width = box
        ramp = torch.arange(left, left + width, dtype=torch.float32).expand(1, 1, height, width)
        vectors = torch.cat([ramp / 50, torch.ones_like(ramp), ramp * 0], 1) * (1 + top)  # of another length per tile
        classes = torch.cat([ramp < 20, (ramp >= 20) & (ramp < 60), ramp >= 60], 1) * 9.0
        depth = ramp / 10 + 1
        return dict(semseg=classes, saliency=(ramp - 40) / 10, normals=vectors, depth=depth)

    found = predict_in_tiles(raw_maps, tasks, (50, 90), (32, 32), 0.25, progress=False)
    expected = {n: tasks[n].predict(raw)[0].numpy() for n, raw in raw_maps((0, 0, 50, 90)).items()}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    'make',
    [
        lambda a: Image.fromarray(a),
        lambda a: Image.fromarray(a).convert('RGBA'),
        lambda a: torch.from_numpy(a).permute(2, 0, 1),
        lambda a: torch.from_numpy(a).permute(2, 0, 1) / 255,
        lambda a: a.astype(np.float64) / 255,
        lambda a: a.astype(np.uint16) * 257,
        lambda a: np.dstack([a, a[..., :1]]),
        lambda a: a[None],
    ],
)
def test_pictures_in_memory(make):
    array = picture(9, 7)
    np.testing.assert_array_equal(gather_inputs(make(array))[0].load()[0], array)


def test_pictures_of_one_channel():
    grey = picture(9, 7)[..., 0]
    forms = [grey, grey[..., None], torch.from_numpy(grey), torch.from_numpy(grey)[None], Image.fromarray(grey)]
    forms += [(grey / 255).astype(np.float32), Image.fromarray((grey / 255).astype(np.float32))]
    for form in forms:
        np.testing.assert_array_equal(to_rgb(form, 'x'), np.repeat(grey[..., None], 3, -1))
    holes = np.where(grey > 128, np.nan, 0.5)
    assert set(np.unique(to_rgb(holes, 'x'))) == {0, 128}
    np.testing.assert_array_equal(to_rgb(grey > 128, 'x')[..., 0], (grey > 128) * np.uint8(255))


def test_numbers_that_do_not_fit_are_told_and_not_wrapped():
    for wrong in (70000, -1):
        with pytest.raises(InputError, match=f'found int32 from .*{wrong}'):
            to_rgb(Image.fromarray(np.array([[0, wrong]], np.int32)), 'x')
    assert to_rgb(Image.fromarray(np.array([[0, 65535]], np.int32)), 'x').max() == 255
    assert to_rgb(torch.ones(3, 4, 5, dtype=torch.bfloat16), 'x').min() == 255
    for nonsense in (None, 5, b'a.png', {'a': 1}):
        with pytest.raises(InputError, match='expected a path, a picture or a list'):
            gather_inputs(nonsense)


def test_names_of_predictions_differ(tmp_path):
    names = ['a.jpg', 'a.png', 'a_2.png', 'B.png', 'b.png']
    for name in names:
        Image.fromarray(picture()).save(tmp_path / name)
    assert sorted(i.sample_id for i in gather_inputs(tmp_path)) == sorted(
        ['a.jpg', 'a.png', 'a_2', 'B.png', 'b.png_2']  # two names that are one to some file systems
    )


def test_one_bad_image_does_not_end_a_folder(inferencer, folder, tmp_path):
    (folder / 'aa.png').write_bytes(b'no picture')
    failures = []
    results = inferencer.stream(folder, failures=failures, panels=False)
    assert [r.sample_id for r in results] == ['a', 'b', 'c'] and 'aa.png' in failures[0]
    with pytest.raises(InputError, match=r'1 of 4 images failed:\n .*aa.png'):
        infer_files(inferencer, [str(folder)], str(tmp_path / 'out'), panels=False)
    assert len(list((tmp_path / 'out').rglob('*.npy'))) == 6
    with pytest.raises(FileError):
        inferencer(folder)


def test_results_are_let_go(inferencer, tmp_path):
    alive = []
    for result in inferencer.stream([picture(seed=i) for i in range(4)], panels=False):
        alive.append(weakref.ref(result))
        assert sum(reference() is not None for reference in alive) <= 2


def test_wrong_use(inferencer, tiny_config):
    with pytest.raises(ValueError, match='go with a config'):
        Inferencer(inferencer.model, checkpoint='a.pth')
    cfg = load_config(tiny_config)
    cfg.test_dataloader = cfg.val_dataloader = None
    with pytest.raises(ConfigError, match='no test pipeline'):
        Inferencer(cfg)
    with pytest.raises(ConfigError, match="Did you mean 'tile'"):
        Inferencer(inferencer.model, fit='tiles')
    with pytest.raises(ConfigError, match='batch_size must be at least 1'):
        inferencer(picture(), batch_size=0)


def test_explanations_need_a_network_that_can_tell(inferencer, folder, tmp_path):
    with pytest.raises(ConfigError, match='explain=True draws pictures into a folder'):
        inferencer(folder / 'a.png', explain=True)
    with pytest.raises(ConfigError, match='PlainDecoder cannot explain'):
        inferencer(folder / 'a.png', explain=True, out_dir=str(tmp_path))


def test_explanations_lie_beside_the_panel(tiny_config, folder, tmp_path):
    options = {'model.decoder': dict(type='TaskDiffusionDecoder', steps=2, _delete_=True)}
    model = init_model(load_config(tiny_config, options))
    result = Inferencer(model)(folder / 'b.jpg', explain=True, raw=False, out_dir=str(tmp_path))[0]
    names = [
        'b.png',
        'b.cross_task_map.png',
        'b.step_predictions.png',
        'b.task_relation_level_1.png',
        'b.task_relation_level_2.png',
    ]
    assert result.files == [str(tmp_path / 'panels' / name) for name in names]
    for path in result.files:
        assert cv2.imread(path).shape[1] >= 400


def test_a_model_of_frame_pairs_takes_neighbours(tiny_config, tmp_path):
    options = {'tasks.motion.type': 'OpticalFlow', 'only_tasks': ['motion']}
    for i in range(3):
        cv2.imwrite(str(tmp_path / f'{i}.png'), picture(seed=i))
    results = Inferencer(tiny_config, cfg_options=options)(str(tmp_path / '*.png'))
    assert [(r.sample_id, r.pred['motion'].shape) for r in results] == [('0', (2, 32, 32)), ('1', (2, 32, 32))]


def test_photographs_of_floats_take_a_white_point(trained, tmp_path):
    import tifffile

    path = str(tmp_path / 'f.tif')
    tifffile.imwrite(path, picture().astype(np.float32))
    config, checkpoint = str(trained.parent / 'tiny.py'), str(trained / 'iter_4.pth')
    with pytest.raises(FileError, match='--white-point'):
        Inferencer(config, checkpoint)(path)
    found = Inferencer(config, checkpoint, white_point=255)(path)[0].pred['depth']
    expected = Inferencer(config, checkpoint)(Image.fromarray(picture()))[0].pred['depth']
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ConfigError, match='white_point'):
        Inferencer(config, checkpoint, white_point=0)
