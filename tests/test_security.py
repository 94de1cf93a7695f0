"""Nothing that could run data stands in the package, outside a short list of places that are looked after."""

from __future__ import annotations

import ast

from tests.test_house import PACKAGE, ROOT, python_files

WORDS = {'eval', 'exec', 'fromstring', 'compile_command', 'execfile', 'unsafe_load', 'full_load'}
MODULES = {'pickle', 'cPickle', 'dill', 'cloudpickle', 'marshal', 'shelve', 'joblib', 'yaml', 'runpy'}
ALLOWED = {
    ('mmmtl/utils/config_files.py', 'exec'),  # config files are programs (docs/security.md)
    ('mmmtl/utils/tensor_files.py', 'import pickle'),  # the restricted readers
    ('mmmtl/utils/tensor_files.py', 'weights_only'),  # their own module stands in for pickle
}


def findings(source: str) -> set[str]:
    """Dangerous words of a module: calls, imports, and the arguments that open a reader."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or '']
            found |= {f'import {name}' for name in names if name.split('.')[0] in MODULES}
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, 'attr', '')
            owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ''
            if name in WORDS and not (name == 'eval' and isinstance(node.func, ast.Attribute)):  # Module.eval()
                found.add(name)
            if name == 'load' and owner in ('torch.jit', 'jit', 'yaml', 'torch.package'):
                found.add(f'{owner}.load')
            if name == 'load' and owner == 'torch' and 'weights_only' not in {k.arg for k in node.keywords}:
                found.add('torch.load without weights_only')
            for keyword in node.keywords:
                value = getattr(keyword.value, 'value', None)
                if (keyword.arg == 'weights_only' and value is not True) or (
                    keyword.arg in ('allow_pickle', 'shell') and value is not False
                ):
                    found.add(keyword.arg)
    return found


def test_the_package_runs_no_data():
    found = {
        (str(path.relative_to(ROOT)), word)
        for path in python_files('mmmtl', 'tools')
        for word in findings(path.read_text(encoding='utf-8'))
    }
    assert found - ALLOWED == set()
    assert ALLOWED - found == set(), 'the list names what is no longer there'
    assert (PACKAGE / 'utils' / 'tensor_files.py').is_file()


def test_the_search_finds_what_it_is_for():
    sources = [
        'eval(x)',
        'exec(x)',
        'Config.fromstring(x, ".py")',
        'import pickle',
        'from pickle import load',
        'import yaml',
        'torch.load(x)',
        'torch.load(x, weights_only=False)',
        'np.load(x, allow_pickle=True)',
        'torch.jit.load(x)',
        'subprocess.run(x, shell=True)',
    ]
    assert [source for source in sources if not findings(source)] == []
    assert findings('model.eval(); torch.load(x, weights_only=True); np.load(x, allow_pickle=False)') == set()
