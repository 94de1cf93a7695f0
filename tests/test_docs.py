"""Documentation: pages exist and are reachable, links and commands point at files that are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from mmmtl.commands import parser_of
from mmmtl.config import load_config

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs'
WRITTEN_BY_RUNS = ('work_dirs', 'outputs', 'data', 'site', 'checkpoints', '.venv')
"""Folders that commands write or that users bring."""


def pages() -> list[Path]:
    readme = [ROOT / 'README.md'] if (ROOT / 'README.md').exists() else []
    return [*readme, ROOT / 'CONTRIBUTING.md', *sorted(DOCS.rglob('*.md'))]


def navigation() -> list[str]:
    """Page files named in mkdocs.yml, depth first."""

    class Loader(yaml.SafeLoader):
        """mkdocs.yml may carry ``!!python/name`` tags of extensions."""

    Loader.add_multi_constructor('tag:yaml.org,2002:python/', lambda loader, suffix, node: suffix)

    def walk(entry) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [name for part in (entry.values() if isinstance(entry, dict) else entry) for name in walk(part)]

    return walk(yaml.load((ROOT / 'mkdocs.yml').read_text(), Loader)['nav'])


def test_pages_of_the_navigation_exist_and_none_is_left_out():
    listed = navigation()
    assert listed[0] == 'index.md' and len(listed) == len(set(listed))
    assert sorted(listed) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob('*.md'))


def commands(text: str) -> list[str]:
    """Lines of shell code blocks, continuation lines joined, comments and prompts taken off."""
    blocks = re.findall(r'^ *```(?:bash|sh|shell|console)\n(.*?)^ *```', text, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in re.sub(r'\\\n', ' ', block).split('\n')]
    return [re.sub(r'^\$ ', '', line) for line in lines if line and not line.startswith('#')]


def paths_in(command: str) -> list[str]:
    """Files of this repository that a command names."""
    try:
        words = shlex.split(command, comments=True)
    except ValueError as error:
        raise AssertionError(f'not a shell command: {command!r} ({error})') from error
    found = [word.split('=', 1)[-1] if '=' in word and not word.startswith(('.', '/')) else word for word in words]
    tops = {path.name for path in ROOT.iterdir()} | {'tools', 'configs', 'docs', 'tests', 'mmmtl'}
    return [
        word
        for word in found
        if word.split('/')[0] in tops and word.split('/')[0] not in WRITTEN_BY_RUNS and ('/' in word or '.' in word)
    ]


def missing(text: str) -> list[str]:
    """What commands and links of a page name that is not there."""
    lost = [
        f'{path} (in: {command})'
        for command in commands(text)
        for path in paths_in(command)
        if not any(ROOT.glob(path.rstrip('/'))) and not set(path) & set('<>{}$')
    ]
    targets = {line.split(':')[0] for line in (ROOT / 'Makefile').read_text().split('\n') if re.match(r'[a-z]+:', line)}
    for command in commands(text):
        words = shlex.split(command, comments=True)
        if words and words[0] == 'make':
            lost += [f'make {word}' for word in words[1:] if '=' not in word and word not in targets]
    return lost


@pytest.mark.parametrize('path', pages(), ids=lambda path: path.name)
def test_commands_name_files_that_exist(path):
    assert missing(path.read_text(encoding='utf-8')) == []


WRAPPERS = {'dist_train.sh': ('train.py', 2), 'dist_test.sh': ('test.py', 3)}
"""Shell scripts: the tool they start, and which of their arguments (counted from 1) is the number of processes."""


def command_of(tool: str) -> str:
    """The command that a file of ``tools/`` starts."""
    return re.search(r"run_tool\('([\w-]+)'\)", (ROOT / 'tools' / tool).read_text(encoding='utf-8')).group(1)


def tool_calls() -> list[tuple[str, str]]:
    """``(command, its arguments)`` of every line in README and docs that starts one, each once."""
    found = {}
    for page in pages():
        for command in commands(page.read_text(encoding='utf-8')):
            for part in re.split(r' && | \|\| | ; | \| |; ', command):
                words = shlex.split(part, comments=True)
                if words[:1] == ['mmmtl'] and words[1:2] and not words[1].startswith('-'):
                    name, rest = words[1], words[2:]
                else:
                    place = next((i for i, word in enumerate(words) if re.match(r'tools/.*\.(py|sh)$', word)), None)
                    if place is None or words[place] == 'tools/misc/draw_rooms.py':
                        continue
                    tool, rest = words[place].removeprefix('tools/'), words[place + 1 :]
                    if tool in WRAPPERS:
                        tool, number = WRAPPERS[tool]
                        del rest[number - 1]
                    elif tool.startswith('slurm_'):
                        tool, rest = tool.removeprefix('slurm_').replace('.sh', '.py'), rest[2:]
                    name = command_of(tool)
                rest = rest[: next((i for i, word in enumerate(rest) if word[:1] in ('>', '|') or word == '2>'), None)]
                found[name, shlex.join(rest)] = None
    return list(found)


def test_there_are_commands_to_try():
    assert len(tool_calls()) > 20 and {'train', 'test', 'infer'} <= {name for name, _ in tool_calls()}


@pytest.mark.parametrize('command', sorted({name for name, _ in tool_calls()}))
def test_every_command_is_one_that_its_parser_takes(command):
    """The command's own parser reads it, and its config, if it is a shipped one, takes its options."""
    for name, line in tool_calls():
        if name != command or set(line) & set('<>{}$') or '...' in line:  # a pattern, not a command
            continue
        try:
            args = parser_of(command).parse_args(shlex.split(line))
        except SystemExit as end:
            pytest.fail(f'{command} {line}: the command ends with status {end.code}')
        config = getattr(args, 'config', None)
        if config and '*' not in config and (ROOT / config).is_file():
            load_config(ROOT / config, args.cfg_options)


def test_missing_files_are_seen():
    """The control for the test above."""
    text = (
        '```bash\n# a comment tools/nothing.py\n$ python tools/nothing.py \\\n  configs/x.py --out=work_dirs/x\n'
        'make demo nonsense JOBS=3\ncat setup.py\n```\n```python\nopen("tools/nothing.py")\n```\n'
    )
    assert [item.split(' (')[0] for item in missing(text)] == ['tools/nothing.py', 'configs/x.py', 'make nonsense']


@pytest.mark.parametrize('path', pages(), ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    text = re.sub(r'```.*?```', '', path.read_text(encoding='utf-8'), flags=re.DOTALL)
    lost = []
    for target in re.findall(r'\]\(([^)\s]+)[^)]*\)', text):
        file, _, anchor = target.partition('#')
        if re.match(r'[a-z]+:', target):
            continue
        aim = (path.parent / file) if file else path
        if not aim.exists():
            lost.append(target)
        elif anchor and aim.suffix == '.md' and anchor not in anchors(aim):
            lost.append(target)
    assert lost == []


def anchors(path: Path) -> set[str]:
    """Anchors of a page's headings, as mkdocs and GitHub make them."""
    headings = re.findall(r'^#+ +(.+?) *$', path.read_text(encoding='utf-8'), re.MULTILINE)
    plain = [re.sub(r'[`*]', '', heading).lower() for heading in headings]
    return {re.sub(r'[\s-]+', '-', re.sub(r'[^\w\s-]', '', heading)).strip('-') for heading in plain}


@pytest.mark.parametrize('path', pages(), ids=lambda path: path.name)
def test_python_blocks_parse(path):
    text = path.read_text(encoding='utf-8')
    for block in re.findall(r'^```(?:python|py)\n(.*?)^```', text, re.MULTILINE | re.DOTALL):
        compile(block, str(path), 'exec')
