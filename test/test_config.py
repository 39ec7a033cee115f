"""Strict YAML to dataclasses: everything that is not declared is refused, with its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
import pytest
import yaml

from vla_ros import config
from vla_ros.errors import ConfigError, UnknownNameError, VlaError


@dataclass(frozen=True)
class Part:
    name: str
    mass: float
    count: int = 1


@dataclass(frozen=True)
class Machine:
    title: str
    parts: tuple[Part, ...]
    corner: tuple[float, float]
    powered: bool = False
    note: str | None = None
    ratios: Mapping[str, float] = field(default_factory=dict)
    spares: dict[str, Part] = field(default_factory=dict)
    extra: Any = None

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError('a machine has parts')


WHOLE = {'title': 'press', 'parts': [{'name': 'lever', 'mass': 2}], 'corner': [0, 1.5]}


def build(**changes):
    return config.build(Machine, {**WHOLE, **changes}, 'press.yaml')


def test_nested_values_get_their_declared_types():
    machine = build(
        note='old',
        ratios={'a': 1, 2: 0.5},
        spares={'lever': {'name': 'lever', 'mass': 2.5, 'count': 3}},
        extra=[1, {'deep': None}],
    )
    assert machine == Machine(
        'press', (Part('lever', 2.0),), (0.0, 1.5), False, 'old', {'a': 1.0, '2': 0.5},
        {'lever': Part('lever', 2.5, 3)}, [1, {'deep': None}],
    )  # fmt: skip
    assert isinstance(machine.parts[0].mass, float)
    assert isinstance(machine.corner[0], float)


NAMES = st.text(st.characters(codec='utf-8', exclude_categories=['Cs', 'Cc']), max_size=12)
PARTS = st.builds(Part, NAMES, st.floats(allow_nan=False), st.integers())
MACHINES = st.builds(
    Machine,
    title=NAMES,
    parts=st.lists(PARTS, min_size=1, max_size=3).map(tuple),
    corner=st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)),
    powered=st.booleans(),
    note=st.none() | NAMES,
    ratios=st.dictionaries(NAMES, st.floats(allow_nan=False), max_size=3),
    spares=st.dictionaries(NAMES, PARTS, max_size=2),
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(MACHINES)
def test_what_is_written_is_what_is_read(tmp_path_factory, machine):
    def plain(value):
        if isinstance(value, tuple):
            return [plain(v) for v in value]
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return value

    path = tmp_path_factory.mktemp('config') / 'machine.yaml'
    path.write_text(yaml.safe_dump(plain(asdict(machine)), allow_unicode=True), encoding='utf-8')
    assert config.load(path, Machine) == machine


@pytest.mark.parametrize(
    ('changes', 'found'),
    [
        ({'title': 3}, 'press.yaml: title: expected str, found int 3'),
        ({'title': None}, 'title: expected str, found nothing'),
        ({'corner': [0]}, 'corner: expected 2 entries, found 1'),
        ({'corner': 'ab'}, 'corner: expected a list, found str'),
        ({'corner': [0, '1']}, r'corner\[1\]: expected float, found str'),
        ({'corner': [0, True]}, r'corner\[1\]: expected float, found bool True'),
        ({'powered': 1}, 'powered: expected bool, found int 1'),
        ({'parts': {'name': 'x'}}, 'parts: expected a list, found dict'),
        ({'parts': ['x']}, r'parts\[0\]: expected a mapping of keys, found str'),
        ({'parts': [{'name': 'x'}]}, r'parts\[0\]: missing mass'),
        ({'parts': [{'name': 'x', 'mass': 1, 'count': 2.0}]}, r'count: expected int, found float'),
        ({'parts': [{'name': 'x', 'mass': 1, 'count': True}]}, 'expected int, found bool True'),
        ({'parts': [{'name': 'x', 'mass': 1, 'count': False}]}, 'expected int, found bool False'),
        ({'ratios': [1]}, 'ratios: expected a mapping, found list'),
        ({'ratios': {'a': 'b'}}, 'ratios: a: expected float, found str'),
        ({'note': 4}, 'note: expected str, found int 4'),
        ({'parts': []}, 'press.yaml: a machine has parts'),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(changes, found):
    with pytest.raises(ConfigError, match=found):
        build(**changes)


def test_an_unknown_key_names_the_closest_and_its_place():
    with pytest.raises(UnknownNameError, match=r"'mas' in press.yaml: parts\[0\].*'mass'"):
        build(parts=[{'name': 'x', 'mas': 1}])
    with pytest.raises(UnknownNameError, match="unknown key '7'"):
        config.build(Machine, {**WHOLE, 7: 1}, 'press.yaml')


def test_every_missing_key_is_named_at_once():
    with pytest.raises(ConfigError, match='missing title, corner'):
        config.build(Machine, {'parts': []}, 'press.yaml')


@pytest.mark.parametrize(
    'text', ['', '[1, 2]', 'just words', 'a: [1', 'a: !!python/name:os.sep x']
)
def test_a_file_that_is_no_mapping_is_a_config_error(tmp_path, text):
    path = tmp_path / 'bad.yaml'
    path.write_text(text, encoding='utf-8')
    with pytest.raises(ConfigError, match=r'bad\.yaml'):
        config.load(path, Machine)


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / 'twice.yaml'
    path.write_text('name: a\nmass: 1.0\nmass: 2.0\n', encoding='utf-8')
    with pytest.raises(ConfigError, match='mass'):
        config.load(path, Part)


def test_files_that_cannot_be_read_are_config_errors(tmp_path):
    (tmp_path / 'latin.yaml').write_bytes(b'name: \xff\xfe\n')
    for name in ('missing.yaml', 'latin.yaml', '.'):
        with pytest.raises(ConfigError):
            config.load(tmp_path / name, Machine)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
))  # fmt: skip
@settings(max_examples=100)
def test_no_data_raises_anything_but_a_named_error(data):
    for key in ('parts', 'corner', 'spares', 'ratios', 'note'):
        try:
            message = repr(config.build(Machine, {**WHOLE, key: data}, 'any.yaml'))
        except VlaError as error:
            message = str(error)
        assert message.startswith('Machine(') or 'any.yaml' in message
