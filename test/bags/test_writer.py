"""What we write is standard: `rosbags`, `mcap` and our own reader find the same; disks may end."""

from __future__ import annotations

import json
from pathlib import Path
import signal
import subprocess
import sys
import time

from made import cdr, known, START, text, TYPES
from mcap.reader import make_reader
import pytest
from rosbags.rosbag2 import Reader
from ruamel.yaml import YAML

from vla_ros import graph
from vla_ros.bags.definitions import digest, installed
from vla_ros.bags.reader import open_bag
from vla_ros.bags.writer import BagWriter
from vla_ros.errors import BagError, BagFullError

LIMIT = 60.0  # bound of every wait [s]
ABOUT = {'robot': 'name: panda\n', 'versions': '{"python": "3"}'}


def fill(folder: Path, messages=None, **options) -> None:
    with BagWriter(folder, ABOUT, **options) as writer:
        for topic, stamp, message in known() if messages is None else messages:
            writer.write(topic, message.__msgtype__, graph.LATCHED, stamp, cdr(message))


@pytest.fixture
def folder(tmp_path) -> Path:
    fill(tmp_path / 'bag', distribution='kilted')
    return tmp_path / 'bag'


def test_our_reader_reads_it(folder):
    with open_bag(folder) as bag:
        found = [(r.topic, r.nanoseconds, r.data) for r in bag.messages()]
        assert bag.metadata == ABOUT
        assert bag.notes == ()
    assert found == [(t, stamp, cdr(m)) for t, stamp, m in known()]


def test_rosbags_reads_it(folder):
    with Reader(folder) as reader:
        messages = reader.messages(reader.connections)
        found = [(c.topic, stamp, bytes(data)) for c, stamp, data in messages]
        assert reader.message_count == len(known())
        for connection in reader.connections:
            (qos,) = connection.ext.offered_qos_profiles
            assert (qos.depth, qos.durability.name, qos.reliability.name) == (
                1, 'TRANSIENT_LOCAL', 'RELIABLE',
            )  # fmt: skip
    assert found == [(t, stamp, cdr(m)) for t, stamp, m in known()]


def test_the_mcap_library_reads_it(folder):
    (file,) = folder.glob('*.mcap')
    with file.open('rb') as stream:
        reader = make_reader(stream, validate_crcs=True)
        found = [(c.topic, m.log_time, m.data) for _, c, m in reader.iter_messages()]
        summary = reader.get_summary()
        records = {r.name: r.metadata for r in reader.iter_metadata()}
        assert reader.get_header().profile == 'ros2'
    assert found == [(t, stamp, cdr(m)) for t, stamp, m in known()]
    assert records['vla_ros'] == ABOUT
    assert summary.statistics.message_count == len(known())
    for schema in summary.schemas.values():
        assert schema.encoding == 'ros2msg'
        assert digest(schema.name, schema.data.decode()) == TYPES.hash_rihs01(schema.name)
    assert {i.compression for i in summary.chunk_indexes} == {'zstd'}


def test_the_yaml_file_says_what_is_in_it(folder):
    info = YAML(typ='safe').load((folder / 'metadata.yaml').read_text())
    info = info['rosbag2_bagfile_information']
    assert (info['version'], info['storage_identifier'], info['ros_distro']) == (
        9,
        'mcap',
        'kilted',
    )
    counts = {t['topic_metadata']['name']: t['message_count']
              for t in info['topics_with_message_count']}  # fmt: skip
    assert counts == {'/joint_states': 100, '/camera/image_raw': 20, '/vla/instruction': 1}
    last = max(stamp for _, stamp, _ in known())
    assert info['starting_time']['nanoseconds_since_epoch'] == START
    assert info['duration']['nanoseconds'] == last - START
    assert info['relative_file_paths'] == ['bag_0.mcap'] == [f['path'] for f in info['files']]


def test_definitions_have_the_hashes_that_ros_gave_them():
    """Of every message type that is installed here and that the graph uses."""
    index = pytest.importorskip('ament_index_python')
    from vla_ros import paths
    from vla_ros.bootstrap import prepare_ros
    from vla_ros.robot import load_robot

    prepare_ros()
    robot = load_robot(paths.find('robots', 'panda_streaming'))
    for kind in {topic.type for topic in graph.recorded(robot)}:
        package, _, name = kind.split('/')
        share = Path(index.get_package_share_directory(package))
        hashes = json.loads((share / 'msg' / f'{name}.json').read_text())['type_hashes']
        (expected,) = (h['hash_string'] for h in hashes if h['type_name'] == kind)
        assert digest(kind, installed(kind)) == expected, kind


def test_a_type_that_nobody_defines_costs_its_topic_alone(tmp_path):
    with BagWriter(tmp_path / 'bag', ABOUT) as writer:
        writer.write('/a', 'std_msgs/msg/String', graph.LATCHED, 1, cdr(text('a')))
        with pytest.raises(BagError, match='foreign_msgs'):
            writer.write('/b', 'foreign_msgs/msg/Thing', graph.LATCHED, 2, b'')
        writer.write('/a', 'std_msgs/msg/String', graph.LATCHED, 3, cdr(text('b')))
    with open_bag(tmp_path / 'bag') as bag:
        assert [r.message.data for r in bag.messages()] == ['a', 'b']


def test_what_is_there_is_not_overwritten(folder):
    before = {file: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(BagError, match='holds files already'):
        BagWriter(folder, ABOUT)
    assert {file: file.read_bytes() for file in folder.iterdir()} == before


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from made import cdr, text
from vla_ros import graph
from vla_ros.bags.recording import Recording
from vla_ros.bags.writer import BagWriter
recording = Recording(BagWriter(Path(sys.argv[1]), {'robot': 'r'}))
topic = graph.Topic('/t', 'std_msgs/msg/String', graph.LATCHED)
for k in range(100_000):
    recording.hear(topic, time.time_ns(), cdr(text(str(k))))
    if k % 100 == 0:
        print(k, time.time_ns(), flush=True)
    time.sleep(0.001)
"""


def test_a_killed_recorder_loses_a_second_at_most(tmp_path):
    """A real process, killed while it writes; what it heard a second before is there."""
    command = [sys.executable, '-c', KILLED, str(tmp_path / 'bag'), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            began = None
            end = time.monotonic() + LIMIT
            for line in child.stdout:
                when = int(line.split()[1])
                began = began or when
                if when - began > 3e9 or time.monotonic() > end:
                    break
        finally:
            child.send_signal(signal.SIGKILL)
    with open_bag(tmp_path / 'bag') as bag:
        found = list(bag.messages())
        assert bag.metadata == {'robot': 'r'}
        assert any('breaks off' in note or 'no usable index' in note for note in bag.notes)
    assert [r.message.data for r in found] == [str(k) for k in range(len(found))]
    assert found[-1].nanoseconds > when - 1.5e9  # a second, and the machine's own slowness


FULL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import numpy as np
from made import cdr, text
from vla_ros import graph
from vla_ros.bags.writer import BagWriter
from vla_ros.errors import BagError
reserve, limit = int(sys.argv[3]), int(sys.argv[4])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
rng = np.random.default_rng(0)
written = 0
try:
    with BagWriter(Path(sys.argv[1]), {'robot': 'r'}, reserve=reserve) as writer:
        while True:
            data = cdr(text(rng.bytes(20_000).hex()))
            writer.write('/t', 'std_msgs/msg/String', graph.LATCHED, written + 1, data)
            written += 1
            if written % 10 == 0:
                writer.flush()
except BagError as error:
    print(type(error).__name__, written, (written // 10) * 10)
    print(error)
"""


def run_full(folder: Path, reserve: int, limit: int) -> list[str]:
    here = str(Path(__file__).parent)
    command = [sys.executable, '-c', FULL, str(folder), here, str(reserve), str(limit)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.split('\n', 1)[0].split() + [answer.stdout.split('\n', 1)[1]]


def test_a_full_disk_ends_a_bag_that_is_whole(tmp_path):
    """Room is kept for the index: every message that was taken is there, and so is the index."""
    name, written, _, message = run_full(tmp_path / 'bag', 2 << 20, 8 << 20)
    assert name == BagFullError.__name__
    assert 'Make room' in message
    with open_bag(tmp_path / 'bag') as bag:
        assert [r.nanoseconds for r in bag.messages()] == list(range(1, int(written) + 1))
        assert bag.notes == ()
    with Reader(tmp_path / 'bag') as reader:
        assert reader.message_count == int(written) > 50


def test_a_disk_that_others_fill_leaves_what_was_flushed(tmp_path):
    """Without a reserve the disk fails in the middle of a chunk."""
    name, _, flushed, message = run_full(tmp_path / 'bag', 0 - (8 << 20), 4 << 20)
    assert name == BagError.__name__
    assert 'What was written before can be read' in message
    with open_bag(tmp_path / 'bag') as bag:
        found = [r.nanoseconds for r in bag.messages()]
    assert found == list(range(1, len(found) + 1))
    assert len(found) >= int(flushed) - 10 > 0


def test_no_room_at_all_leaves_nothing(tmp_path):
    with pytest.raises(BagFullError, match='MiB'):
        BagWriter(tmp_path / 'bag', ABOUT, reserve=1 << 60)
    assert not list((tmp_path / 'bag').iterdir())
