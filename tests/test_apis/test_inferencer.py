"""Images of any size and from anywhere in; predictions at their own size out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from mmmtl.apis import Inferencer, init_model
from mmmtl.apis.inputs import gather_inputs
from mmmtl.config import load_config
from mmmtl.errors import ConfigError, FileError, InputError
from mmmtl.visualization import read_raw


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
    assert [(p.sample_id, len(p.frames)) for p in pairs] == [('a', 2), ('b', 2)]
    with pytest.raises(InputError, match='two frames'):
        gather_inputs(folder / 'a.png', frames=2)
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
            lambda d: np.zeros((4, 4, 4), np.uint8),
            InputError,
            r'expected an image, uint8 RGB \(H, W, 3\), found uint8 \(4, 4, 4\)',
        ),
        (lambda d: np.zeros((4, 4, 3)), InputError, 'found float64'),
    ],
)
def test_what_is_no_image_is_named(inferencer, folder, make, error, words):
    (folder / 'empty').mkdir()
    with pytest.raises(error, match=words):
        inferencer(make(folder))


def test_grey_arrays_are_taken(inferencer):
    assert inferencer(picture()[..., 0], panels=False)[0].pred['depth'].shape == (1, 32, 32)


def test_an_image_the_network_cannot_take(inferencer):
    with pytest.raises(ValueError, match=r'multiple of 8 .* got 30x33'):
        inferencer(picture(30, 33))


def test_wrong_use(inferencer, tiny_config):
    with pytest.raises(ValueError, match='go with a config'):
        Inferencer(inferencer.model, checkpoint='a.pth')
    cfg = load_config(tiny_config)
    cfg.test_dataloader = cfg.val_dataloader = None
    with pytest.raises(ConfigError, match='no test pipeline'):
        Inferencer(cfg)


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
