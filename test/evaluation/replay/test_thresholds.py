"""Limits and verdicts, and how they come out in JUnit and on the page."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
import pytest

from vla_ros import config, paths
from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.evaluation.replay.report import junit, page
from vla_ros.evaluation.replay.runs import Run
from vla_ros.evaluation.replay.thresholds import judge, Limit, load_thresholds, Thresholds

NUMBERS = st.floats(-1e6, 1e6)


@given(a=NUMBERS, b=NUMBERS, value=NUMBERS)
def test_a_verdict_is_an_inequality(a, b, value):
    least, most = sorted((a, b))
    limits = Thresholds({'x': Limit('table.key', 'it is wrong.', least, most)})
    (verdict,) = judge(limits, {'table': {'key': value}})
    assert verdict.passed == (least <= value <= most)
    assert verdict.passed != ('it is wrong.' in verdict.message)


def test_what_was_not_measured_is_not_judged():
    limits = Thresholds({'x': Limit('a.b', 'wrong.', most=1.0)})
    for figures in ({}, {'a': None}, {'a': {'b': None}}, {'a': 3.0}):
        (verdict,) = judge(limits, figures)
        assert verdict.passed and verdict.value is None


@pytest.mark.parametrize('scale, words', [(57.3, 'degrees for'), (0.0175, 'radians for')])
def test_a_scale_of_degrees_is_named(scale, words):
    limits = Thresholds({'x': Limit('joint_scale', 'wrong.', 0.5, 2.0)})
    assert words in judge(limits, {'joint_scale': scale})[0].message


def test_the_shipped_file_is_strict_and_good():
    limits = load_thresholds(paths.find('thresholds', 'default')).limits
    assert {'joint_order', 'camera_order', 'joint_units', 'joint_scale'} <= set(limits)
    with pytest.raises(UnknownNameError, match='most'):
        config.build(Thresholds, {'limits': {'x': {'figure': 'a', 'meaning': 'b', 'mst': 1}}}, 'f')
    with pytest.raises(ConfigError):
        config.build(Thresholds, {'limits': {'x': {'figure': 'a', 'meaning': 'b'}}}, 'f')


def make_run() -> Run:
    verdicts = (
        {'name': 'good', 'figure': 'a', 'value': 1.0, 'passed': True, 'message': '1'},
        {'name': 'bad', 'figure': 'b', 'value': 2.0, 'passed': False, 'message': '<2> & more'},
        {'name': 'none', 'figure': 'c', 'value': None, 'passed': True, 'message': 'not measured'},
    )
    return Run('x/bag', 'p', 's', {'latency': 0.15}, {'steps': 3}, verdicts, ('a <note>',), ())


def test_junit_has_a_case_for_each_limit():
    root = ElementTree.fromstring(junit([make_run(), make_run()]))
    assert [suite.get('failures') for suite in root] == ['1', '1']
    cases = {case.get('name'): [part.tag for part in case] for case in root[0]}
    assert cases == {'good': [], 'bad': ['failure'], 'none': ['skipped']}
    assert '<2> & more' in root[0][1][0].get('message')


def test_the_page_escapes_what_it_shows():
    text = page([make_run()])
    assert '&lt;2&gt; &amp; more' in text and 'a &lt;note&gt;' in text
    assert '1 of 1 failed' in text
