"""The catalogue of methods is complete, and is what the command writes."""

from __future__ import annotations

import json

from mmengine.fileio import load

from mmmtl.analysis.methods import collections, methods_page, published_metrics, published_rows
from mmmtl.apis.convert import empty_network
from mmmtl.models.decoder import Decoder
from mmmtl.registry import CONVERTERS, MODELS


def test_the_page_is_up_to_date(root_dir):
    page = (root_dir / 'docs/methods.md').read_text()
    assert page == methods_page(root_dir / 'docs/results/costs.json'), 'run python tools/misc/list_methods.py'


def test_every_method_and_config_is_listed(root_dir):
    page = methods_page(root_dir / 'docs/results/costs.json')
    folders = {p.parent.name for p in (root_dir / 'configs').glob('[!_]*/*.py')} - {'studies'}
    listed = {name: (about, models) for name, about, models in collections()}
    assert set(listed) == folders
    CONVERTERS.import_from_location()
    assert {name for name in CONVERTERS.module_dict if name in folders} <= set(listed)
    for name, (about, models) in listed.items():
        assert all(about[key] for key in ('Title', 'Reference', 'Idea', 'State')), name
        assert f'| `{name}` | {about["Title"]} |' in page
        for model in models:
            assert f'`{model["Name"]}`' in page
    _, rows = published_metrics()
    assert {about.get('Row') for about, _ in listed.values()} - {None} <= set(rows)
    others = set(rows) - {about.get('Row') for about, _ in listed.values()}
    assert {name for name in others if not name.endswith('released weights')} == {'TaskDiffusion + MLoRE'}


def test_the_zoo_is_complete(root_dir):
    """Every config has a line, and every published one its metrics, checkpoint, licence and converter."""
    page = methods_page(root_dir / 'docs/results/costs.json')
    CONVERTERS.import_from_location()
    used = set()
    for folder, about, models in collections():
        assert about.get('Licence') or not any('Checkpoint' in model for model in models), folder
        for model in models:
            line = next(line for line in page.splitlines() if line.startswith(f'| `{model["Name"]}` |'))
            used.add(model.get('Metrics'))
            if 'Checkpoint' in model:
                assert (
                    folder in CONVERTERS.module_dict and f'mmmtl convert {folder} ' in line and about['Licence'] in line
                )
    for path in (root_dir / 'configs/_base_/references').glob('*.py'):
        for row in published_rows(path.stem)[2]:
            used.discard(f'{path.stem}/{row}')
    assert used <= {None}, 'metrics of tables that are not there'


def test_every_decoder_is_in_a_config(root_dir):
    MODELS.import_from_location()
    used = ' '.join(path.read_text() for path in (root_dir / 'configs').rglob('*.py'))
    ours = {n: kind for n, kind in MODELS.module_dict.items() if getattr(kind, '__module__', '').startswith('mmmtl.')}
    decoders = [n for n, kind in ours.items() if isinstance(kind, type) and issubclass(kind, Decoder)]
    assert len(decoders) >= 14
    unused = [name for name in decoders if f"type='{name}'" not in used]
    assert unused == ['DecodeHeads'], 'the one that takes heads of mmsegmentation, with tests of its own'


def test_parameters_are_those_of_the_networks(root_dir):
    costs = json.loads((root_dir / 'docs/results/costs.json').read_text())
    index = load(root_dir / 'model-index.yml')['Import']
    names = {model['Name'] for file in index for model in load(root_dir / file)['Models']}
    assert set(costs) <= names
    for name in ('atrc/hrnet18_nyud', 'jtr/segnet_cityscapes'):
        network = empty_network(str(root_dir / 'configs' / f'{name}.py'))
        assert costs[name]['parameters'] == sum(p.numel() for p in network.parameters())
