"""Prompts of the pi0 family, word for word."""

from __future__ import annotations

import numpy as np
from pi_folders import write_tokenizer
from pi_layout import WORDS
import pytest

from vla_ros.errors import PolicyError
from vla_ros.policies.prompts import BINS, cleaned, state_words, Words
from vla_ros.policies.vocabulary import read_tokenizer


@pytest.fixture
def words(tmp_path) -> Words:
    write_tokenizer(tmp_path)
    return Words(read_tokenizer(tmp_path / 'tokenizer.json'), 8)


def test_an_instruction_becomes_one_line_without_underscores():
    assert cleaned(' pick_up\nthe  Cube_ ') == 'pick up the  Cube '


@pytest.mark.parametrize(
    ('value', 'number'),
    [
        (-1.0, 0), (-0.9921876, 0), (-0.9921875, 1), (-1e-9, 127), (0.0, 128), (0.9921875, 255),
        (1.0, 255), (7.0, 255), (-1.0000001, -1), (-9.0, -1),
    ],
)  # fmt: skip
def test_a_state_is_told_by_its_bins(value, number):
    assert state_words(np.array([value, 0.5])) == f'{number} 192'


def test_there_are_256_bins_of_one_width():
    np.testing.assert_allclose(np.diff([*BINS, 1.0]), 2.0 / 256.0, atol=1e-15)


def test_parts_are_cut_by_themselves_and_bos_comes_first(words):
    table = {w: k for k, w in enumerate(WORDS)}
    assert words('Action: |') == [2, *(table[w] for w in ('Action', ':', '▁', '|'))]
    assert words('Act', 'ion') == [2, table['Act'], table['i'], table['o'], table['n']]
    assert words.plain('a b') == [table['a'], table['▁'], table['b']]
    assert (words.bos, words.eos, words.size) == (2, 1, len(WORDS))


def test_a_prompt_that_would_be_cut_is_refused(words):
    assert len(words('x' * 7)) == 8
    with pytest.raises(PolicyError, match='9 words.*at most 8: shorten'):
        words('x' * 8)
