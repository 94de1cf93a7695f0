"""The web page, served in this process and asked by its client."""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mmmtl.apis import Inferencer, init_model
from mmmtl.app.limits import Limits, deadline
from mmmtl.config import load_config
from mmmtl.errors import ConfigError, InputError
from tests.tiny_config import write_config

pytest.importorskip('gradio', reason='the web page is the extra app: pip install "mmmtl[app]"')


@pytest.fixture(scope='module')
def inferencer(tmp_path_factory):
    options = {'model.decoder': dict(type='TaskDiffusionDecoder', steps=2, _delete_=True)}
    torch.manual_seed(0)
    return Inferencer(init_model(load_config(write_config(tmp_path_factory.mktemp('app')), options)))


@pytest.fixture(scope='module')
def page(inferencer):
    """(address, client) of the page."""
    from gradio_client import Client

    from mmmtl.app import serve

    limits = Limits(megabytes=0.5, megapixels=0.2, max_side=96, steps=4, ensemble=3)
    with serve(inferencer, port=None, limits=limits) as address:
        yield address, Client(address, verbose=False)
    assert not os.path.exists(os.environ.get('GRADIO_TEMP_DIR', '/none'))


@pytest.fixture
def photograph(tmp_path):
    path = tmp_path / 'street.png'
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8))
    return path


def upload(path):
    from gradio_client import handle_file

    return handle_file(str(path))


def test_the_page_is_served_to_this_machine_and_asks_nobody_else(page):
    address, client = page
    assert address.startswith('http://127.0.0.1:')
    text = urllib.request.urlopen(address, timeout=10).read().decode()
    config = json.loads(urllib.request.urlopen(address + 'config', timeout=10).read())
    assert config['analytics_enabled'] is False and config['title'] == 'mmmtl'
    for stranger in ('fonts.googleapis', 'gstatic', 'google-analytics'):
        assert stranger not in text and stranger not in json.dumps(config)
    assert {'/predict', '/film', '/files', '/model'} == set(client.view_api(return_format='dict')['named_endpoints'])


def test_the_client_of_the_page_gets_what_the_inferencer_gives(page, inferencer, photograph):
    _, client = page
    about = client.predict(api_name='/model')
    routes = client.view_api(return_format='dict', print_info=False)['named_endpoints']
    names = [p['parameter_name'] for p in routes['/predict']['parameters']]
    assert names == ['path', 'tasks', 'steps', 'seed', 'ensemble', 'max_side']
    assert list(about['tasks']) == ['semseg', 'depth', 'boundary'] and about['steps'] == 2 and about['random']
    answer = client.predict(upload(photograph), ['semseg', 'depth'], 3, 5, 2, 64, api_name='/predict')
    gallery = answer[0]
    names = [entry['caption'] for entry in gallery]
    assert names == ['Semantic segmentation', 'Depth', 'Semantic segmentation: uncertainty', 'Depth: uncertainty']
    expected = inferencer(photograph, tasks=['semseg', 'depth'], steps=3, seed=5, ensemble=2, max_side=64)[0]
    seen = np.asarray(Image.open(gallery[0]['image']).convert('RGB'))
    np.testing.assert_array_equal(seen, inferencer.tasks['semseg'].colorize(expected.pred['semseg']))
    given = client.predict(['png', 'png16', 'npy', 'ply'], 60, api_name='/files')
    files = {Path(path).name: path for path in given}
    assert {'street.semseg.pictures.png', 'street.depth.png16.png', 'street.depth.points.ply'} <= set(files)
    np.testing.assert_array_equal(np.load(files['street.depth.values.npy']), expected.pred['depth'])
    assert 'street.depth.uncertainty.npy' in files


def test_the_denoising_is_a_film(page, photograph):
    path = page[1].predict(upload(photograph), 4, 0, 64, api_name='/film')
    assert Image.open(path).n_frames == 4


@pytest.mark.parametrize(
    'change, words',
    [
        (dict(steps=5), 'steps=5: this page allows at most 4'),
        (dict(ensemble=4), 'ensemble=4: this page allows at most 3'),
        (dict(max_side=4096), 'max_side=4096: this page allows at most 96'),
        (dict(seed=-1), 'seed must be at least 0'),
        (dict(steps=1.5), 'steps must be a whole number, got 1.5'),
        (dict(file='note.png'), 'note.png is no image that can be read: give a PNG'),
        (dict(file='large.png'), 'large.png has 600 x 400 pixels: this page takes up to 0.2 megapixels'),
        (dict(file=None), 'Give a photograph first'),
    ],
)
def test_what_the_page_refuses_it_says(page, photograph, change, words):
    (photograph.parent / 'note.png').write_text('no picture')
    Image.new('RGB', (600, 400)).save(photograph.parent / 'large.png')
    asked = {**dict(steps=2, seed=0, ensemble=1, max_side=64, file='street.png'), **change}
    file = upload(photograph.parent / asked.pop('file')) if asked['file'] else asked.pop('file')
    numbers = [asked[name] for name in ('steps', 'seed', 'ensemble', 'max_side')]
    with pytest.raises(Exception, match=words):
        page[1].predict(file, ['depth'], *numbers, api_name='/predict')


def test_a_large_upload_is_turned_away(page, tmp_path):
    import httpx

    (tmp_path / 'huge.png').write_bytes(os.urandom(700_000))
    with pytest.raises(Exception, match='exceeds the maximum file size of 500000 bytes'):
        page[1].predict(upload(tmp_path / 'huge.png'), [], 1, 0, 1, 64, api_name='/predict')
    answer = httpx.post(
        page[0] + 'gradio_api/upload', files={'files': ('huge.png', (tmp_path / 'huge.png').read_bytes())}, timeout=10
    )
    assert answer.status_code == 413


def test_what_takes_too_long_is_broken_off(inferencer):
    with pytest.raises(InputError, match='took longer than 0 s and was broken off'), deadline(inferencer.model, 0):
        inferencer(np.zeros((32, 32, 3), np.uint8), panels=False)
    assert inferencer(np.zeros((32, 32, 3), np.uint8), panels=False)  # no hook is left


def test_a_network_without_steps_or_noise_offers_none(trained, photograph):
    from mmmtl.app.predictor import Predictor

    plain = Inferencer(trained.parent / 'tiny.py', str(trained / 'iter_4.pth'), device='cpu')
    predictor = Predictor(plain, Limits())
    assert predictor.describe()['steps'] is None and not predictor.random and not predictor.has_film
    with pytest.raises(InputError, match='does not predict in steps'):
        predictor.film(str(photograph), None, 0, 64)
    seen = predictor.predict(str(photograph), [], None, 0, 1, 64)
    assert seen.result.pred['depth'].shape == (1, 40, 64)


def test_a_taken_port_and_a_missing_gradio_are_told(page, inferencer, monkeypatch):
    from mmmtl.app import serve

    port = int(page[0].rstrip('/').rpartition(':')[2])
    with pytest.raises(ConfigError, match=f'port {port} .* cannot be used'), serve(inferencer, port=port):
        pass
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'mmmtl\[app\]'"), serve(inferencer):
        pass


@pytest.mark.parametrize(
    'words, told',
    [
        (['a.py'], 'a config needs its checkpoint'),
        (['a.py', 'b.pth', '--model', 'x'], "--model 'x' and the config 'a.py': give one of the two"),
    ],
)
def test_the_command_names_one_network(words, told, capsys):
    from mmmtl.commands import main

    with pytest.raises(SystemExit):
        main(['app', *words])
    assert told in capsys.readouterr().err
