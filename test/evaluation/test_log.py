"""A log keeps what had ended, whatever ends the run: a cut line, a full disk, another run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import resource

import pytest

from vla_ros.errors import ConfigError, LogError
from vla_ros.evaluation.log import EpisodeLog

HEAD = {'suite': 'tabletop', 'modes': ('cbf',)}


@contextmanager
def room(size: int) -> Iterator[None]:
    """Let no file grow beyond a size [bytes], as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def kept(path: Path) -> list[int]:
    return [entry['index'] for entry in EpisodeLog(path, HEAD).entries]


def test_a_line_that_was_cut_short_is_dropped_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / 'a' / 'log.jsonl'
    EpisodeLog(path, HEAD).add({'index': k} for k in range(3))
    with path.open('a') as file:
        file.write('{"index": 3, "mo')
    assert kept(path) == [0, 1, 2]
    EpisodeLog(path, HEAD).add([{'index': 3}])
    assert kept(path) == [0, 1, 2, 3]


def test_a_full_disk_costs_the_episode_in_flight_alone(tmp_path: Path) -> None:
    path = tmp_path / 'log.jsonl'
    log = EpisodeLog(path, HEAD)
    log.add({'index': k} for k in range(2))
    with room(path.stat().st_size + 5):
        with pytest.raises(LogError, match='make room, then give the same command again'):
            log.add([{'index': 2}])
        assert EpisodeLog(path, HEAD).entries == [{'index': 0}, {'index': 1}]  # still full
    EpisodeLog(path, HEAD).add([{'index': 2}])
    assert kept(path) == [0, 1, 2]


def test_the_log_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / 'log.jsonl'
    EpisodeLog(path, HEAD).add([{'index': 0}])
    before = path.read_bytes()
    with pytest.raises(ConfigError, match='name another file'):
        EpisodeLog(path, {**HEAD, 'suite': 'long'})
    assert path.read_bytes() == before
    path.write_text('not a log\n')
    with pytest.raises(ConfigError, match='is no log of episodes'):
        EpisodeLog(path, HEAD)
