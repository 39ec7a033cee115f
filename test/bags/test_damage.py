"""Broken bags: one clear sentence each, and nothing lost that can be read."""

from __future__ import annotations

import re
import shutil
import sqlite3
import struct

from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
from made import cdr, header, joints, known, make, START, STEP, text, TYPES, write, write_mcap
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
import numpy as np
import pytest
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from vla_ros.bags.reader import open_bag
from vla_ros.errors import BagError


def times(bag):
    return [(r.topic, r.nanoseconds) for r in bag.messages()]


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data(), compression=st.sampled_from(list(CompressionType)), chunked=st.booleans())
def test_a_file_cut_anywhere_gives_what_precedes(tmp_path_factory, data, compression, chunked):
    """The longer the file, the more is read; what is read is always the first of it."""
    path = tmp_path_factory.mktemp('cut') / 'a.mcap'
    write_mcap(path, compression, use_chunking=chunked)
    whole = path.read_bytes()
    expected = [(topic, time) for topic, time, _ in known()]
    places = sorted(data.draw(st.lists(st.integers(8, len(whole) - 1), min_size=2, max_size=4)))
    counts = []
    for place in places:
        path.write_bytes(whole[:place])
        with open_bag(path) as bag:
            found = times(bag)
            assert found == expected[: len(found)]
            assert any('breaks off' in note for note in bag.notes)
            assert sum(topic.count for topic in bag.topics.values()) == len(found)
        counts.append(len(found))
    assert counts == sorted(counts)


@pytest.mark.parametrize('compression', [CompressionType.NONE, CompressionType.LZ4])
def test_a_torn_chunk_is_read_to_its_end(tmp_path, compression):
    """One chunk holds everything here, and half of it is there."""
    path = tmp_path / 'a.mcap'
    with path.open('wb') as file:
        writer = McapWriter(file, chunk_size=10**9, compression=compression)
        writer.start(profile='ros2')
        definition, _ = TYPES.generate_msgdef('std_msgs/msg/String', ros_version=2)
        schema = writer.register_schema('std_msgs/msg/String', 'ros2msg', definition.encode())
        channel = writer.register_channel('/t', 'cdr', schema)
        for k in range(1000):
            writer.add_message(channel, k, cdr(text(f'{k * 7919 % 10007}' * 200)), k)
        writer.finish()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with open_bag(path) as bag:
        found = [r.message.data for r in bag.messages()]
    assert found == [f'{k * 7919 % 10007}' * 200 for k in range(len(found))]
    assert len(found) > 300


def test_a_damaged_chunk_costs_that_chunk_alone(tmp_path):
    path = tmp_path / 'a.mcap'
    write_mcap(path)
    whole = bytearray(path.read_bytes())
    middle = len(whole) // 3
    whole[middle : middle + 4] = bytes(4)
    path.write_bytes(whole)
    with open_bag(path) as bag:
        found = times(bag)
        assert any('damaged' in note for note in bag.notes)
    lost = {(t, time) for t, time, _ in known()} - set(found)
    assert 0 < len(lost) < 30
    assert found == sorted(found, key=lambda item: item[1])


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data(), storage=st.sampled_from(list(StoragePlugin)))
def test_flipped_bytes_never_crash(tmp_path_factory, data, storage):
    """Any outcome but a BagError or messages is a defect."""
    path = write(tmp_path_factory.mktemp('flip') / 'bag', known(20), storage)
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    try:
        with open_bag(path) as bag:
            for recorded in bag.messages():
                try:
                    assert recorded.message is not None
                except BagError:
                    continue
    except BagError as error:
        told = str(error)
    else:
        told = str(path)
    assert str(path) in told


@pytest.mark.parametrize('name', ['a.mcap', 'a.db3'])
@pytest.mark.parametrize('content', [b'', b'nonsense' * 100])
def test_what_is_no_bag_is_an_error(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BagError, match=re.escape(str(path))):
        open_bag(path)


def test_nothing_there_is_an_error(tmp_path):
    with pytest.raises(BagError, match='does not exist'):
        open_bag(tmp_path / 'nowhere')
    with pytest.raises(BagError, match='holds no .mcap'):
        open_bag(tmp_path)
    (tmp_path / 'a.txt').write_text('')
    with pytest.raises(BagError, match="'.txt'"):
        open_bag(tmp_path / 'a.txt')


@pytest.mark.parametrize('storage', StoragePlugin)
def test_an_empty_bag_is_no_error(tmp_path, storage):
    with open_bag(write(tmp_path / 'bag', [], storage).parent) as bag:
        assert list(bag.messages()) == []
        assert (bag.start, bag.end, bag.topics) == (0.0, 0.0, {})


@pytest.mark.parametrize('text_', ['', 'no: yaml: at all', 'other: 1\n', '[1, 2'])
def test_useless_metadata_is_told_and_done_without(tmp_path, text_):
    file = write(tmp_path / 'bag')
    (file.parent / 'metadata.yaml').write_text(text_)
    with open_bag(file.parent) as bag:
        assert len(times(bag)) == len(known())
        assert 'metadata.yaml cannot be used' in bag.notes[0]


def test_a_missing_part_is_told_and_the_others_are_read(tmp_path):
    file = write(tmp_path / 'bag')
    metadata = file.parent / 'metadata.yaml'
    metadata.write_text(metadata.read_text().replace(
        f'- {file.name}', f'- {file.name}\n  - bag_1.mcap', 1))  # fmt: skip
    with open_bag(file.parent) as bag:
        assert len(times(bag)) == len(known())
        assert any('bag_1.mcap is listed' in note for note in bag.notes)


def test_one_bad_part_does_not_cost_the_others(tmp_path):
    file = write(tmp_path / 'bag')
    (file.parent / 'metadata.yaml').unlink()
    (file.parent / 'bag_1.mcap').write_bytes(b'')
    with open_bag(file.parent) as bag:
        assert len(times(bag)) == len(known())
        assert any('bag_1.mcap is empty' in note for note in bag.notes)


def test_an_unknown_type_is_skipped_with_a_note(tmp_path):
    """SQLite of Humble holds no definitions; nobody knows this type."""
    file = write(tmp_path / 'bag', storage=StoragePlugin.SQLITE3)
    with sqlite3.connect(file) as base:
        base.execute(
            "UPDATE topics SET type = 'foreign_msgs/msg/Thing' WHERE name = '/joint_states'"
        )
    with open_bag(file) as bag:
        assert {topic for topic, _ in times(bag)} == {'/camera/image_raw', '/vla/instruction'}
        assert any("'/joint_states' is skipped" in n and 'foreign_msgs' in n for n in bag.notes)
        assert bag.topics['/joint_states'].type == 'foreign_msgs/msg/Thing'


def test_a_message_that_is_too_short_says_where(tmp_path):
    file = write(tmp_path / 'bag', [('/t', START, text('long enough'))], StoragePlugin.SQLITE3)
    with sqlite3.connect(file) as base:
        base.execute('UPDATE messages SET data = ?', (cdr(text('long enough'))[:7],))
    with open_bag(file) as bag:
        (recorded,) = bag.messages()
        with pytest.raises(BagError, match="on '/t' at 1790000000.000 s"):
            _ = recorded.message


@pytest.mark.parametrize('storage', StoragePlugin)
def test_a_clock_that_jumped_is_told(tmp_path, storage):
    """Back by 3 s in the file; ahead by a minute in time."""
    seconds = [0, 1, 2, 3, 4, 1.5, 2.5, 70, 71]
    messages = [
        ('/t', START + int(s * 1e9), text('x' * 2_000_000 + str(s))) for s in seconds
    ]  # large, so that each has a chunk of its own
    file = write(tmp_path / 'bag', messages, storage, CompressionMode.STORAGE
                 if storage is StoragePlugin.MCAP else CompressionMode.NONE)  # fmt: skip
    with open_bag(file) as bag:
        found = [r.nanoseconds - START for r in bag.messages()]
        assert found == sorted(int(s * 1e9) for s in seconds)
        notes = ' '.join(bag.notes)
    assert re.search(r'goes back .* by up to 2.500 s', notes), notes
    assert 'leaps ahead by 66.0 s' in notes, notes


def test_what_a_killed_sqlite_recorder_left_is_taken_in(tmp_path):
    """A copy of a database in the middle of its work: most of it stands in the log beside."""
    live = write(tmp_path / 'bag', known(10), StoragePlugin.SQLITE3)
    base = sqlite3.connect(live)
    base.execute('PRAGMA journal_mode=WAL')
    base.execute('PRAGMA wal_autocheckpoint=0')
    later = START + 50 * STEP
    base.execute('INSERT INTO messages(topic_id, timestamp, data) SELECT id, ?, ? FROM topics '
                 "WHERE name = '/vla/instruction'", (later, cdr(text('late'))))  # fmt: skip
    base.commit()
    dead = tmp_path / 'dead'
    dead.mkdir()
    for file in live.parent.glob('*.db3*'):
        shutil.copy(file, dead / file.name)
    base.close()
    with open_bag(dead) as bag:
        found = [(r.nanoseconds, r.message.data) for r in bag.messages({'/vla/instruction'})]
        assert found[-1] == (later, 'late')
        assert any('left unfinished was taken in' in note for note in bag.notes)


def test_packed_file_that_is_cut(tmp_path):
    rng = np.random.default_rng(0)
    messages = [('/t', START + k, text(rng.bytes(100_000).hex())) for k in range(20)]
    file = write(tmp_path / 'bag', messages, packed=CompressionMode.FILE)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with open_bag(file.parent) as bag:
        found = times(bag)
        assert bag.notes
    assert 5 < len(found) < 15
    assert found == [(t, time) for t, time, _ in messages][: len(found)]
    file.write_bytes(whole[:100])
    with pytest.raises(BagError, match=re.escape(str(file))):
        open_bag(file.parent)


def test_the_helpers_make_what_they_say():
    stamp = header(START).stamp
    assert stamp.sec * 10**9 + stamp.nanosec == START
    assert struct.unpack_from('<i', cdr(make('std_msgs/msg/Int32', data=-5)), 4) == (-5,)
    assert joints(START, [1.0]).name == ['j0']
