"""``mmmtl infer`` without config and checkpoint, and what its words may be."""

from __future__ import annotations

import pytest
from PIL import Image

from mmmtl.commands import _model, main
from mmmtl.commands._model import split_words
from mmmtl.errors import InputError
from mmmtl.hub import save_pretrained, shipped_weights


def test_words():
    assert split_words(['a.jpg', 'b.jpg'], None) == (None, None, ['a.jpg', 'b.jpg'])
    assert split_words(['c.py', 'x.pth', 'a.jpg'], None) == ('c.py', 'x.pth', ['a.jpg'])
    assert split_words(['mmmtl::a/b', 'x.pth', 'a.jpg'], None)[0] == 'mmmtl::a/b'
    with pytest.raises(InputError, match='CONFIG CHECKPOINT INPUT'):
        split_words(['c.py', 'a.jpg'], None)
    with pytest.raises(InputError, match='give one of the two'):
        split_words(['c.py', 'x.pth', 'a.jpg'], 'net')
    with pytest.raises(InputError, match=f'--model {shipped_weights.DEFAULT_MODEL}'):
        split_words([shipped_weights.DEFAULT_MODEL, 'a.jpg'], None)
    with pytest.raises(InputError, match="'x.pth' is a checkpoint and no input"):
        _model.refuse_missing(['x.pth', 'a.jpg'])


def test_a_photograph_alone(tiny_config, tmp_path, monkeypatch, capsys):
    from mmmtl.apis import init_model

    monkeypatch.setattr(shipped_weights, 'FOLDER', tmp_path / 'weights')
    save_pretrained(
        init_model(tiny_config), tmp_path / 'weights' / shipped_weights.DEFAULT_MODEL, about='It knows rooms.'
    )
    Image.new('RGB', (50, 41)).save(tmp_path / 'a.png')
    main(['infer', str(tmp_path / 'a.png'), '--out', str(tmp_path / 'out'), '--device', 'cpu'])
    printed = capsys.readouterr().out
    assert 'It knows rooms.' in printed and '1 images, 4 files' in printed
    assert (tmp_path / 'out/panels/a.png').is_file()
    folder = str(tmp_path / 'weights' / shipped_weights.DEFAULT_MODEL)
    main(['infer', str(tmp_path / 'a.png'), '--model', folder, '--out', str(tmp_path / 'two'), '--device', 'cpu'])
    assert (tmp_path / 'two/panels/a.png').is_file()


def test_the_page_takes_the_same_words(capsys):
    for words, message in (
        (['app', 'c.py'], 'a config needs its checkpoint'),
        (['app', 'c.py', 'x.pth', '--model', 'net'], 'give one of the two'),
    ):
        with pytest.raises(SystemExit):
            main(words)
        assert message in capsys.readouterr().err
