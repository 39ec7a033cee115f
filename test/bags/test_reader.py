"""Bags of other writers in every storage, compression and version: the same numbers in order."""

from __future__ import annotations

import sqlite3

from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
from made import cdr, joints, known, START, STEP, text, TYPES, write, write_mcap
from mcap.writer import CompressionType
import numpy as np
import pytest
from rosbags.rosbag2 import CompressionMode, StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg, get_typestore, Stores

from vla_ros import graph
from vla_ros.bags.reader import open_bag
from vla_ros.errors import BagError
from vla_ros.messages import frame_from_msg, joint_state_from_msg, text_from_msg

LAYOUTS = [
    (storage, packed, version)
    for storage in StoragePlugin
    for packed in CompressionMode
    for version in (8, 9)
    if (storage, packed) != (StoragePlugin.SQLITE3, CompressionMode.STORAGE)
]


def same_message(one, other) -> None:
    np.testing.assert_equal(cdr(one), TYPES.serialize_cdr(other, other.__msgtype__).tobytes())


def check(bag, expected) -> None:
    found = list(bag.messages())
    assert [(r.topic, r.nanoseconds) for r in found] == [(t, time) for t, time, _ in expected]
    for got, (_, _, message) in zip(found, expected):
        assert got.type == message.__msgtype__
        same_message(message, got.message)


@pytest.mark.parametrize(('storage', 'packed', 'version'), LAYOUTS)
def test_every_layout_reads_the_same(tmp_path, storage, packed, version):
    file = write(tmp_path / 'bag', None, storage, packed, version)
    folder = file.parent
    with open_bag(folder) as bag:
        check(bag, known())
        assert bag.notes == ()
        assert bag.topics['/joint_states'].count == 100
        assert (bag.start, bag.end) == (START * 1e-9, (START + 100 * STEP) * 1e-9)
    (folder / 'metadata.yaml').unlink()
    with open_bag(folder) as bag:
        check(bag, known())
        assert len(bag.notes) == 1 and 'metadata.yaml is missing' in bag.notes[0]
    with open_bag(file) as bag:
        check(bag, known())


@pytest.mark.parametrize('compression', CompressionType)
@pytest.mark.parametrize('chunked', [True, False])
def test_mcap_of_any_inner_form(tmp_path, compression, chunked):
    path = tmp_path / 'a.mcap'
    write_mcap(path, compression, use_chunking=chunked)
    with open_bag(path) as bag:
        check(bag, known())


@pytest.mark.parametrize('schema', [1, 2, 3, 4])
def test_sqlite_of_humble_and_before(tmp_path, schema):
    """Written by hand: the older schemas have no column for what came later."""
    path = tmp_path / 'old.db3'
    columns = ['id INTEGER PRIMARY KEY', 'name TEXT', 'type TEXT', 'serialization_format TEXT']
    columns += ['offered_qos_profiles TEXT'] * (schema >= 2)
    columns += ['type_description_hash TEXT'] * (schema >= 4)
    with sqlite3.connect(path) as base:
        base.execute(f'CREATE TABLE topics({", ".join(columns)})')
        base.execute('CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, '
                     'timestamp INTEGER, data BLOB)')  # fmt: skip
        if schema >= 3:
            base.execute(
                'CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT)'
            )
            base.execute("INSERT INTO schema VALUES (?, 'humble')", (schema,))
        if schema >= 4:
            base.execute('CREATE TABLE message_definitions(id INTEGER, topic_type TEXT,'
                         ' encoding TEXT, encoded_message_definition TEXT, type_description_hash '
                         'TEXT)')  # fmt: skip
        numbers = {}
        for topic, time, message in known():
            if topic not in numbers:
                numbers[topic] = len(numbers) + 1
                row = [numbers[topic], topic, message.__msgtype__, 'cdr'] + [''] * (
                    len(columns) - 4
                )
                base.execute(f'INSERT INTO topics VALUES ({",".join("?" * len(row))})', row)
            base.execute('INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)',
                         (numbers[topic], time, cdr(message)))  # fmt: skip
    with open_bag(path) as bag:
        check(bag, known())


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    times=st.lists(st.integers(1, 50), min_size=1, max_size=60),
    files=st.integers(1, 4),
    storage=st.sampled_from(list(StoragePlugin)),
    seed=st.integers(0, 2**16),
)
def test_any_order_in_any_split_is_read_in_order_of_time(
    tmp_path_factory, times, files, storage, seed
):
    tmp = tmp_path_factory.mktemp('split')
    rng = np.random.default_rng(seed)
    parts = [[] for _ in range(files)]
    for k, time in enumerate(times):
        parts[rng.integers(files)].append(('/t', time * 10**8, text(f'{k}')))
    whole = tmp / 'whole'
    whole.mkdir()
    for k, part in enumerate(parts):
        file = write(tmp / f'part{k}', part, storage)
        file.rename(whole / f'bag_{k}{file.suffix}')
    with open_bag(whole) as bag:
        found = [(r.nanoseconds, r.message.data) for r in bag.messages()]
    assert [time for time, _ in found] == sorted(time * 10**8 for time in times)
    assert sorted(found) == sorted((time * 10**8, f'{k}') for k, time in enumerate(times))


def test_only_what_was_asked_for(tmp_path):
    with open_bag(write(tmp_path / 'bag')) as bag:
        found = {r.topic for r in bag.messages({'/vla/instruction', '/nowhere'})}
    assert found == {'/vla/instruction'}


def test_messages_become_values(tmp_path):
    expected = [m for t, _, m in known() if t == '/joint_states']
    pixels = [m for t, _, m in known() if t == '/camera/image_raw']
    with open_bag(write(tmp_path / 'bag')) as bag:
        states = [joint_state_from_msg(r.message, expected[0].name[::-1])
                  for r in bag.messages({'/joint_states'})]  # fmt: skip
        frames = [frame_from_msg(r.message) for r in bag.messages({'/camera/image_raw'})]
        words = [text_from_msg(r.message) for r in bag.messages({'/vla/instruction'})]
    assert words == ['reach the cube']
    for state, message in zip(states, expected):
        np.testing.assert_array_equal(state.position, message.position[::-1])
        np.testing.assert_array_equal(state.velocity, message.velocity[::-1])
    for frame, message in zip(frames, pixels):
        np.testing.assert_array_equal(frame.image.ravel(), message.data)


@pytest.mark.parametrize('space', ['', '/left', '/cell/left'])
def test_a_robot_may_have_a_namespace(tmp_path, space):
    messages = [(f'{space}/joint_states', START, joints(START, [0.0]))]
    with open_bag(write(tmp_path / 'bag', messages)) as bag:
        assert bag.namespace == space
        assert bag.name(graph.JOINT_STATES) == f'{space}/joint_states'
        assert bag.name(graph.CLOCK) == '/clock'


def test_two_robots_are_not_mistaken_for_one(tmp_path):
    messages = [(f'/{arm}/joint_states', START, joints(START, [0.0])) for arm in ('a', 'b')]
    with (
        open_bag(write(tmp_path / 'bag', messages)) as bag,
        pytest.raises(BagError, match='/a, /b'),
    ):
        _ = bag.namespace


def test_two_files_may_define_one_type_differently(tmp_path):
    """A bag that lasted longer than a message definition: each file is read by its own."""
    folder = tmp_path / 'two'
    folder.mkdir()
    for k, fields in enumerate(('float64 x\n', 'string label\nfloat64 x\n')):
        store = get_typestore(Stores.EMPTY)
        store.register(get_types_from_msg(fields, 'own_msgs/msg/Point'))
        kind = store.types['own_msgs/msg/Point']
        value = kind(x=float(k)) if k == 0 else kind(label='b', x=float(k))
        with Writer(tmp_path / f'part{k}', version=9, storage_plugin=StoragePlugin.MCAP) as made:
            channel = made.add_connection('/p', 'own_msgs/msg/Point', typestore=store)
            made.write(channel, k + 1, bytes(store.serialize_cdr(value, 'own_msgs/msg/Point')))
        (file,) = (tmp_path / f'part{k}').glob('*.mcap')
        file.rename(folder / f'bag_{k}.mcap')
    with open_bag(folder) as bag:
        assert [r.message.x for r in bag.messages()] == [0.0, 1.0]
