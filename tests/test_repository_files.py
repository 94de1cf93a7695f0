"""Files for people and services around the code: they parse, and agree with the code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import mmmtl

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / '.github/workflows').glob('*.yml'))
FORMS = sorted((ROOT / '.github/ISSUE_TEMPLATE').glob('[!c]*.yml'))


def test_there_is_something_to_check():
    assert len(WORKFLOWS) >= 1 and len(FORMS) >= 3


@pytest.mark.parametrize('path', WORKFLOWS, ids=lambda p: p.name)
def test_workflows_are_well_formed(path):
    """What the service demands: triggers, jobs with a machine, steps that use or run something."""
    workflow = yaml.safe_load(path.read_text())
    triggers = workflow.get('on', workflow.get(True))  # YAML 1.1 reads the key `on` as true
    assert workflow['name'] and 'pull_request' in triggers and workflow['permissions'] == {'contents': 'read'}
    jobs = workflow['jobs']
    makefile = (ROOT / 'Makefile').read_text()
    for name, job in jobs.items():
        assert job['runs-on'] and job['steps'] and job.get('needs', name) in jobs, name
        assert all(('uses' in step) != ('run' in step) for step in job['steps']), name
        assert all(re.fullmatch(r'[\w-]+/[\w-]+@v\d+', step['uses']) for step in job['steps'] if 'uses' in step)
        for run in (step['run'] for step in job['steps'] if 'run' in step):
            assert all(re.search(rf'^{target}:', makefile, re.MULTILINE) for target in re.findall(r'^make (\w+)', run))
            assert all((ROOT / word).exists() for word in run.split() if word.startswith('tests/')), run


def test_the_matrix_has_every_supported_python():
    matrix = yaml.safe_load((ROOT / '.github/workflows/tests.yml').read_text())['jobs']['quick']['strategy']['matrix']
    source = (ROOT / 'setup.py').read_text()
    first, last = map(int, re.search(r'range\((\d+), (\d+)\)', source).groups())
    assert matrix['python'] == [f'3.{minor}' for minor in range(first, last)]
    assert f"python_requires='>=3.{first}'" in source and f'py3{first}' in (ROOT / 'ruff.toml').read_text()


@pytest.mark.parametrize('path', FORMS, ids=lambda p: p.name)
def test_issue_forms(path):
    form = yaml.safe_load(path.read_text())
    assert form['name'] and form['description'] and form['body']
    ids = [part['id'] for part in form['body']]
    assert len(ids) == len(set(ids)) and all(part['attributes']['label'] for part in form['body'])


def test_citation_changelog_and_the_pages_for_people():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert citation['cff-version'] == '1.2.0' and citation['version'] == mmmtl.__version__
    assert citation['license'] == 'Apache-2.0' and citation['authors'] and citation['title'] and citation['message']
    assert re.search(r'^## Unreleased$', (ROOT / 'CHANGELOG.md').read_text(), re.MULTILINE)
    for name in ('CODE_OF_CONDUCT.md', 'SECURITY.md'):
        links = re.findall(r'\]\((?!http)([^)#]+)', (ROOT / name).read_text())
        assert links and all((ROOT / link).exists() for link in links)


def test_the_image_installs_what_there_is():
    text = (ROOT / 'docker/Dockerfile').read_text()
    lines = [line for line in re.sub(r'\\\n', ' ', text).split('\n') if line and not line.startswith('#')]
    known = {'ARG', 'FROM', 'ENV', 'RUN', 'WORKDIR', 'COPY', 'USER', 'ENTRYPOINT', 'CMD'}
    assert {line.split()[0] for line in lines} <= known and lines[1].startswith('FROM python:')
    assert set(re.findall(r'\$\{(\w+)\}', text)) <= set(re.findall(r'^ARG (\w+)', text, re.MULTILINE))
    assert re.search(r'TORCH="(.*?)"', text).group(1) in (ROOT / 'Makefile').read_text()
    assert lines.index('USER 1000') < lines.index('ENTRYPOINT ["mmmtl"]')


def tool(name: str) -> str:
    """A program beside this interpreter, or on the path."""
    found = shutil.which(name, path=f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}')
    if found is None:
        pytest.skip(f'{name} is not installed (requirements/tests.txt)')
    return found


def checked(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ('schema', 'pattern'),
    [
        ('github-workflows', '.github/workflows/*.yml'),
        ('github-issue-forms', '.github/ISSUE_TEMPLATE/[!c]*.yml'),
        ('github-issue-config', '.github/ISSUE_TEMPLATE/config.yml'),
        ('citation-file-format', 'CITATION.cff'),
    ],
)
def test_files_follow_the_schemas_of_their_services(schema, pattern):
    paths = sorted(map(str, ROOT.glob(pattern)))
    assert paths
    checked(tool('check-jsonschema'), '--builtin-schema', f'vendor.{schema}', *paths)


def test_the_image_is_linted():
    checked(tool('hadolint'), '--config', '.hadolint.yaml', 'docker/Dockerfile')


PYTHON = """#!/bin/sh
echo "$*" >> {log}
case "$*" in
    *'import torch, torchvision') exit 1;;
    *--index-url*) exit {answers};;
esac
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='other systems have no CUDA in their wheels')
@pytest.mark.parametrize(
    ('driver', 'answers', 'options', 'expected'),
    [
        (False, True, [], ['cpu']),
        (False, False, [], ['cpu', 'usual']),
        (True, True, [], ['usual']),
        (False, True, ['CPU_INDEX='], ['usual']),
    ],
)
def test_make_install_takes_the_build_for_the_machine(tmp_path, driver, answers, options, expected):
    """A recorded interpreter in the place of the environment's: what would be installed from where."""
    log, folder = tmp_path / 'log', tmp_path / 'venv' / 'bin'
    folder.mkdir(parents=True)
    programs = {folder / 'python': PYTHON.format(log=log, answers=int(not answers))}
    path = tmp_path / 'path'
    path.mkdir()
    for name in ('sh', 'test', 'touch', 'uname', 'make'):
        (path / name).symlink_to(shutil.which(name))
    if driver:
        programs[path / 'nvidia-smi'] = '#!/bin/sh\n'
    for file, text in programs.items():
        file.write_text(text)
        file.chmod(0o755)
    command = ['make', 'install', f'VENV={tmp_path / "venv"}', 'TORCH=torch==1', *options]
    done = subprocess.run(command, cwd=ROOT, env=dict(PATH=str(path)), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    installs = [line for line in log.read_text().splitlines() if line.endswith('torch==1')]
    assert [
        'cpu' if '--index-url https://download.pytorch.org/whl/cpu' in line else 'usual' for line in installs
    ] == expected
