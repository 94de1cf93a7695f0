"""Files that other programs run: the same maps as the model's, any number of images, noise, metadata, mistakes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from mmmtl.apis import init_model
from mmmtl.commands import export
from mmmtl.commands.main import main, parser_of
from mmmtl.errors import ConfigError, InputError, UserError
from mmmtl.export import ExportedModel, export_model
from mmmtl.export.comparison import difference
from mmmtl.export.int8 import feeds
from mmmtl.export.metadata import _task
from mmmtl.export.program import Program
from mmmtl.export.writers import _limit, trace
from mmmtl.models.data_preprocessor import IMAGENET_MEAN
from mmmtl.structures import MTLDataSample
from mmmtl.tasks import build_tasks
from tests.test_models.test_every_method import network

SIZE = (32, 32)


def images(batch: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, 3, *size)).astype(np.uint8)


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    from tests.tiny_config import write_config

    torch.manual_seed(0)
    return init_model(write_config(tmp_path_factory.mktemp('plain')))


@pytest.fixture(scope='module')
def written(plain, tmp_path_factory):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    return export_model(plain, tmp_path_factory.mktemp('out') / 'model.onnx', size=SIZE, batch=None)


def test_an_onnx_file_predicts_as_the_model_for_any_number_of_images(plain, written):
    file = ExportedModel(written.files[0])
    with pytest.raises(InputError, match='takes up to 1024 images, got 1025'):
        file(images(1025))
    for wrong in (images(1) / 255, images(1) * np.nan, images(1).astype(np.uint16) * 257):
        with pytest.raises(InputError, match='takes images of 0..255, found values from'):
            file(wrong)
    for batch in (1, 3):
        found = file(images(batch))
        data = plain.data_preprocessor(dict(inputs=[torch.from_numpy(x) for x in images(batch)]))
        with torch.no_grad():
            wanted = plain(data['inputs'], mode='predict')
        assert set(found) == set(plain.tasks)
        for name, maps in found.items():
            model = np.stack([getattr(s.pred, name).numpy() for s in wanted])
            assert maps.shape == model.shape and maps.dtype == model.dtype
            seen = difference(maps, model)
            assert seen.relative <= (2e-3 if seen.categorical else 1e-4)
    assert written.differences['depth'].relative < 1e-4 and 'ms' in written.text


def test_eight_bits_are_compared_with_single_precision():
    with pytest.raises(ConfigError, match='--int8 is compared with single precision: leave out --half'):
        export.run(parser_of('export').parse_args(['c.py', 'x.pth', '--int8', 'c.py', '--half']))


def test_the_file_tells_what_it_takes_and_gives(plain, written):
    import onnx

    props = {p.key: p.value for p in onnx.load(written.files[0]).metadata_props}
    told = json.loads(props['mmmtl'])
    assert told == ExportedModel(written.files[0]).metadata
    assert told['image']['shape'] == ['batch', 3, 32, 32] and 'RGB of 0..255' in told['image']['values']
    assert told['normalization']['mean'] == pytest.approx([0.485, 0.456, 0.406])
    assert told['tasks']['semseg']['classes'] == plain.tasks['semseg'].classes
    assert len(told['tasks']['semseg']['palette']) == 8 and told['tasks']['depth']['unit'] == 'm'
    assert told['size_rule']['multiple'] == 8 and told['noise'] == {} and told['output'] == 'predictions'


def test_a_task_of_two_classes_may_give_classes():
    units = {}
    for name, task in build_tasks(
        dict(road=dict(type='SemanticSegmentation', classes=2), boundary=dict(type='Boundary'))
    ).items():
        units[name] = _task(task, False)['unit']
    assert units == dict(road='class', boundary="probability of 'boundary'")


def test_a_file_is_measured_on_images_padded_as_the_model_pads_them(plain):
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    image[:, :, :16] = torch.arange(16)
    sample = MTLDataSample(metainfo=dict(sample_id='a', padding=(0, 16, 0, 0)))
    ((feed, _),) = feeds(plain, [dict(inputs=image, data_samples=sample)], 1, dict(noise={}))
    shown = torch.from_numpy(feed['image'])[0]
    assert torch.equal(shown[:, :, :16], image[:, :, :16].float()), 'the same whole numbers'
    torch.testing.assert_close(shown[:, 0, 31], 255 * torch.tensor(IMAGENET_MEAN)), 'the mean colour'


def test_the_command_writes_and_compares(plain, tmp_path, capsys):
    from tests.tiny_config import write_config

    config, out = write_config(tmp_path), str(tmp_path / 'm.pt2')
    main(['export', config, '--format', 'torch_export', '--out', out, '--raw', '--size', '32x32'])
    told = capsys.readouterr().out
    assert f'written: {out}' in told and 'largest difference' in told and 'file' in told
    file = ExportedModel(out)
    assert file.metadata['output'] == 'raw maps' and file(images(1))['semseg'].shape == (1, 8, 32, 32)
    with pytest.raises(InputError, match='takes images of shape'):
        file(images(2))


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        (dict(size=(30, 32)), 'multiples of 8'),
        (dict(kind='onxx'), "'onnx'"),
        (dict(noise='seeds'), "'seed'"),
        (dict(kind='torch_export', half=True), '--format onnx or openvino'),
    ],
)
def test_arguments_that_do_not_go_together(plain, tmp_path, options, told):
    out = tmp_path / ('m.pt2' if options.get('kind') == 'torch_export' else 'm.onnx')
    with pytest.raises(ConfigError, match=told):
        export_model(plain, out, **{'size': SIZE, **options})
    assert not out.exists()


def test_other_mistakes(plain, tmp_path):
    with pytest.raises(ConfigError, match=r'ends in \.onnx'):
        export_model(plain, tmp_path / 'm.xml', size=SIZE)
    with pytest.raises(ConfigError, match='subclass of'):
        export_model(torch.nn.Linear(1, 1), tmp_path / 'm.onnx')
    with pytest.raises(FileNotFoundError, match='no such file'):
        ExportedModel(tmp_path / 'nothing.onnx')
    plain.tta = object()
    try:
        with pytest.raises(ConfigError, match='model.tta'):
            export_model(plain, tmp_path / 'm.onnx', size=SIZE)
    finally:
        plain.tta = None


@pytest.mark.parametrize('batch', [1, None])
def test_what_no_graph_can_hold_is_told(plain, tmp_path, monkeypatch, batch):
    predict = plain.decoder.predict

    def looks_at_values(feats, noise, size):
        return predict(feats, noise, size) if feats[0].sum().item() > -1e30 else {}

    monkeypatch.setattr(plain.decoder, 'predict', looks_at_values)
    with pytest.raises(UserError, match='PlainDecoder.*cannot be traced'):
        export_model(plain, tmp_path / 'm.onnx', size=SIZE, batch=batch)


@pytest.mark.parametrize(
    ('told', 'limit'), [('max=9', 9), ('got < for batch < 64/7', 9), ('batch < 8', 7), ('no', None)]
)
def test_the_largest_batch_in_what_torch_tells(told, limit):
    assert _limit(told) == limit


LARGE = (64, 128)


@pytest.mark.slow
def test_noise_is_an_input_by_name():
    model = network('diffusionmtl', ('semseg', 'depth')).eval()
    program = Program(model, LARGE, raw=True)
    free = trace(program, None)[0].module()
    assert 'randn' not in str(free.graph)
    image = torch.from_numpy(images(2, LARGE)).float()
    assert set(program.noise_shapes) >= {'q.semseg', 'q.depth'}
    noise = {name: torch.randn(2, *shape) for name, shape in program.noise_shapes.items()}
    with torch.no_grad():
        wanted = model(model.data_preprocessor(dict(inputs=list(image)))['inputs'], noise=noise)
        found = free(image, noise)
        other = free(image, {name: -x for name, x in noise.items()})
    for name in wanted:
        assert torch.allclose(found[name], wanted[name], atol=1e-4, rtol=1e-4)
        assert not torch.allclose(found[name], other[name], atol=1e-4, rtol=1e-4)


def test_baked_noise_gives_the_same_bits_twice(tmp_path):
    model, out = network('diffusionmtl', ('depth',)).eval(), tmp_path / 'baked.pt2'
    done = export_model(model, out, 'torch_export', size=LARGE, batch=None, raw=True, noise='seed', check=False)
    assert done.metadata['noise'] == {} and done.metadata['noise_seed'] == model.noise_seed
    first, second = (ExportedModel(out)(images(2, LARGE))['depth'] for _ in range(2))
    assert np.array_equal(first, second)
    single = ExportedModel(out)(images(2, LARGE)[1:])['depth']
    assert np.allclose(single, first[1:], rtol=1e-4, atol=1e-4), 'the place in the batch is nothing'


def test_the_drawn_noise_of_images_without_a_name():
    from mmmtl.diffusion.noise import SampleNoise

    like = torch.empty(())
    by_place = SampleNoise(3, None).normal('start', (2, 4), like)
    assert torch.equal(by_place, SampleNoise(3, ['0', '1']).normal('start', (2, 4), like))
    with pytest.raises(ValueError, match='2 rows for 1'):
        SampleNoise(3, ['0']).normal('start', (2, 4), like)


@pytest.mark.slow
def test_openvino_and_half_precision(plain, tmp_path):
    pytest.importorskip('openvino')
    done = export_model(plain, tmp_path / 'm.xml', 'openvino', size=SIZE, batch=None)
    assert done.differences['depth'].relative < 1e-4
    assert ExportedModel(done.files[0]).metadata == json.loads(json.dumps(done.metadata))
    half = export_model(plain, tmp_path / 'h.onnx', 'onnx', size=SIZE, half=True, raw=True)
    assert 1e-6 < half.differences['depth'].relative < 0.05


@pytest.mark.slow
def test_eight_bits_and_what_they_cost(plain, written, tmp_path):
    from mmmtl.export.int8 import quantize_and_compare

    text = quantize_and_compare(plain, written, plain.cfg, 3, str(tmp_path / 'table.md'))
    assert 'depth/RMSE' in text and 'int8' in text
    table = (tmp_path / 'table.md').read_text()
    assert table.count('\n| ') >= 3 and '%' in table
    small = ExportedModel(written.files[0].replace('.onnx', '.int8.onnx'))
    assert small.metadata['precision'] == 'int8' and small(images(1))['depth'].shape == (1, 1, 32, 32)


def test_a_model_that_predicts_no_numbers_is_like_no_file():
    nothing = np.full((1, 1, 2, 2), np.nan, np.float32)
    assert difference(nothing, nothing).share == 1 and difference(nothing, nothing + 1).share == 1
    assert difference(np.zeros(4), np.zeros(4)).share == 0
