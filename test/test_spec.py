"""PolicySpec: what a policy file may say."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from vla_ros import config, paths
from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.spec import ALIGNMENTS, ImageSpec, NoOptions, PolicySpec

SPEC = config.load(paths.find('policies', 'tiny_pi0'), PolicySpec)


@pytest.mark.parametrize(
    'change',
    [{'replan_steps': 0}, {'replan_steps': 13}, {'step': 0.0}, {'step': float('nan')}],
)
def test_a_chunk_that_cannot_run_is_refused(change):
    with pytest.raises(ConfigError, match='policy tiny_pi0'):
        replace(SPEC, **change)


@pytest.mark.parametrize('word', ALIGNMENTS)
def test_alignments_that_are_known(word):
    assert replace(SPEC, alignment=word, alignment_tolerance=0.0).alignment == word


def test_an_unknown_alignment_names_the_closest():
    with pytest.raises(UnknownNameError, match="policy tiny_pi0.*Did you mean 'nearest'"):
        replace(SPEC, alignment='nearst')


@pytest.mark.parametrize('tolerance', [-0.001, float('nan'), float('inf')])
def test_an_alignment_tolerance_that_is_none_is_refused(tolerance):
    with pytest.raises(ConfigError, match='alignment_tolerance is .* expected 0 or more'):
        replace(SPEC, alignment_tolerance=tolerance)


def test_an_adapter_reads_its_own_options_and_no_others():
    @dataclass(frozen=True)
    class Options:
        padding: str = 'centre'
        fill: float = -1.0

    spec = replace(SPEC, options={'fill': 0})
    assert spec.read_options(Options) == Options('centre', 0.0)
    with pytest.raises(UnknownNameError, match="policy tiny_pi0: options.*Did you mean 'padding'"):
        replace(SPEC, options={'pading': 'left'}).read_options(Options)
    with pytest.raises(ConfigError, match='policy tiny_pi0: options: fill: expected float'):
        replace(SPEC, options={'fill': 'black'}).read_options(Options)
    with pytest.raises(UnknownNameError, match='fill'):
        spec.read_options(NoOptions)


def test_what_a_policy_file_may_leave_out_is_as_it_was():
    assert (SPEC.options, SPEC.device, SPEC.dtype, SPEC.unnorm_key) == ({}, 'cpu', 'float32', None)
    assert [image.slot for image in SPEC.images] == [None, None]


def test_an_unknown_dtype_names_the_closest():
    with pytest.raises(UnknownNameError, match="policy tiny_pi0.*Did you mean 'bfloat16'"):
        replace(SPEC, dtype='bfloat')


@pytest.mark.parametrize('slots', [('base', None), ('base', 'base')])
def test_slots_name_every_picture_once(slots):
    images = tuple(ImageSpec('scene', 96, slot) for slot in slots)
    with pytest.raises(ConfigError, match='policy tiny_pi0: slots'):
        replace(SPEC, images=images)
    assert replace(SPEC, images=tuple(ImageSpec('scene', 96, slot) for slot in 'ab'))
