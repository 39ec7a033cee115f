"""What holds for every test, and what tests of several folders share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import os
from pathlib import Path
import subprocess
import sys
import venv

from hypothesis import settings
import pytest

# An example may take as long as a busy machine needs.
settings.register_profile('vla_ros', deadline=None)
settings.load_profile('vla_ros')

os.environ.setdefault('MUJOCO_GL', 'egl')  # as vla_ros.sim does: a test may import mujoco first

CACHE = Path(os.environ.get('XDG_CACHE_HOME', Path.home() / '.cache')) / 'vla_ros'


@pytest.fixture(scope='module')
def one_thread() -> Iterator[None]:
    """Leave the other cores alone: networks are small, and other tests run beside them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='session')
def environment() -> Callable[..., str]:
    """Return what makes an environment of its own, once; a test skips where it cannot."""

    def make(
        package: str, wanted: Sequence[str], timeout: float, asked: tuple[str, str] | None = None
    ) -> str:
        """Return its Python.

        Args:
            package: What it is for, with the version; names the folder.
            wanted: Requirements.
            timeout: For pip [s].
            asked: Variable that must be 1 for it to be made, and why it is not without.
        """
        folder = CACHE / f'{package}-python{sys.version_info.major}.{sys.version_info.minor}'
        done, python = folder / 'done', folder / 'bin' / 'python'
        if done.exists():
            return str(python)
        if asked is not None and os.environ.get(asked[0]) != '1':
            pytest.skip(f'set {asked[0]}=1 to {asked[1]}')
        venv.create(folder, with_pip=True, clear=True)
        try:
            subprocess.run(
                [python, '-m', 'pip', 'install', '--quiet', *wanted],
                check=True, capture_output=True, text=True, timeout=timeout,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            pytest.skip(f'the environment of {package} cannot be made: {error}')
        except subprocess.CalledProcessError as error:
            pytest.skip(f'the environment of {package} cannot be made: {error.stderr[-300:]}')
        done.touch()
        return str(python)

    return make
