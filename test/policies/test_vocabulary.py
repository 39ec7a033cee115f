"""Where tokenizers are sought, and which are refused."""

from __future__ import annotations

import json

import pytest
from tokenizers import models, Tokenizer

from vla_ros.errors import CheckpointError
from vla_ros.policies.vocabulary import find_tokenizer, read_tokenizer


@pytest.fixture
def file(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({'a': 0, 'b': 1}, unk_token='b'))
    tokenizer.enable_truncation(1)
    tokenizer.enable_padding(length=5)
    tokenizer.save(str(tmp_path / 'tokenizer.json'))
    return tmp_path / 'tokenizer.json'


def test_a_tokenizer_is_sought_where_it_may_be(tmp_path):
    folder, other = tmp_path / 'checkpoint', tmp_path / 'other'
    for place in (folder, folder / 'tokenizer', other):
        place.mkdir()
    with pytest.raises(CheckpointError, match='no tokenizer.json in .*copy that of Some/Model'):
        find_tokenizer(folder, None, 'Some/Model')
    for place in (folder, folder / 'tokenizer'):
        (place / 'tokenizer.json').touch()
        assert find_tokenizer(folder, None, 'Some/Model') == place / 'tokenizer.json'
    with pytest.raises(CheckpointError, match=f'no tokenizer.json in {other}:'):
        find_tokenizer(folder, other, 'Some/Model')
    (other / 'tokenizer.json').touch()
    assert find_tokenizer(folder, other, 'Some/Model') == other / 'tokenizer.json'


@pytest.mark.parametrize('text', [None, '', '{}', '[]'])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path, text):
    file = tmp_path / 'tokenizer.json'
    if text is not None:
        file.write_text(text, encoding='utf-8')
    with pytest.raises(CheckpointError, match='cannot read .*tokenizer.json'):
        read_tokenizer(file)


def test_words_that_are_not_there_are_named(file):
    assert read_tokenizer(file, ('a', 'b')).token_to_id('b') == 1
    with pytest.raises(CheckpointError, match='tokenizer.json has no <bos>'):
        read_tokenizer(file, ('a', '<bos>'))


def test_it_neither_cuts_nor_pads(file):
    """What a tokenizer.json says of it would reach the network as words."""
    table = json.loads(file.read_text(encoding='utf-8'))
    assert table['truncation'] and table['padding']
    ids = read_tokenizer(file).encode(['a', 'b', 'a'], is_pretokenized=True).ids
    assert ids == [0, 1, 0]
