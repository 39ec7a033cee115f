"""What holds for every test, and what tests of several folders share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import ctypes
import fcntl
import hashlib
from importlib.util import find_spec
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

CACHE = Path(os.environ.get('XDG_CACHE_HOME', Path.home() / '.cache')) / 'vla_ros'


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


@pytest.fixture(scope='session')
def control_msgs() -> Iterator[None]:
    """Make `control_msgs` known to this process and to those that it starts.

    Where ROS 2 has it, that is all. PyPI lacks it, so what the drivers use of it is built from
    test/interfaces into the cache, once (half a minute).
    """
    pytest.importorskip('rclpy')
    if find_spec('control_msgs') is not None:
        yield
        return
    prefix = _built(Path(__file__).parent / 'interfaces' / 'control_msgs')
    libraries, (packages,) = prefix / 'lib', (prefix / 'lib').glob('python*/site-packages')
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(packages)
        for name, first, last in (
            ('PYTHONPATH', packages, ''),
            ('LD_LIBRARY_PATH', libraries, ''),
            ('AMENT_PREFIX_PATH', prefix, sys.prefix),
        ):
            patch.setenv(name, f'{first}{os.pathsep}{os.environ.get(name, last)}')
        kinds = ('generator_c', 'typesupport_c', 'typesupport_introspection_c')
        for kind in (*kinds, 'typesupport_fastrtps_cpp', 'typesupport_fastrtps_c', 'generator_py'):
            # The loader read LD_LIBRARY_PATH when this process began; what is loaded, it finds.
            ctypes.CDLL(str(libraries / f'libcontrol_msgs__rosidl_{kind}.so'), ctypes.RTLD_GLOBAL)
        yield


def _built(source: Path) -> Path:
    """Return the install folder of an interface package, built once in this environment."""
    files = sorted(path for path in source.rglob('*') if path.is_file())
    digest = hashlib.sha256(b''.join(path.read_bytes() for path in files) + sys.prefix.encode())
    folder = CACHE / f'{source.name}-{digest.hexdigest()[:12]}'
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        if (folder / 'done').exists():
            return folder / 'install'
        environment = {
            **os.environ,
            'AMENT_PREFIX_PATH': sys.prefix,
            'CMAKE_PREFIX_PATH': sys.prefix,
            'COLCON_HOME': str(folder),
            'MAKEFLAGS': f'-j{os.cpu_count() or 1}',
            'PATH': f'{Path(sys.prefix) / "bin"}{os.pathsep}{os.environ.get("PATH", os.defpath)}',
        }
        environment.pop('PYTHONPATH', None)
        words = [
            '--log-base', 'log', 'build', '--base-paths', source, '--build-base', 'build',
            '--merge-install', '--install-base', 'install', '--cmake-args',
            f'-DPython3_EXECUTABLE={sys.executable}', '-DBUILD_TESTING=OFF',
        ]  # fmt: skip
        answer = subprocess.run(
            [sys.executable, '-m', 'colcon', *map(str, words)],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        if answer.returncode:
            pytest.skip(f'{source.name} cannot be built here: {answer.stderr[-300:]}')
        (folder / 'done').touch()
    return folder / 'install'
