"""Builds the interface packages into the virtual environment with a real colcon build."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import re
import subprocess

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (ROOT / 'msg', ROOT / 'tools' / 'setup' / 'control_msgs')  # PyPI lacks both packages

# The wheels' cmake exports name the include folders of the machine that built them.
FOREIGN_PYTHON = re.compile(r'/opt/python/cp\d+-cp\d+/include/python[\d.]+')
FOREIGN_NUMPY = re.compile(r'/opt/python/[^;" ]*/site-packages/numpy/_core/include')


def build_interfaces(
    venv: Path,
    work: Path,
    run: Callable[[list[str], dict[str, str]], None],
) -> None:
    """Build the packages of SOURCES with colcon and install them into `venv`.

    Args:
        venv: Virtual environment that has rclpy and colcon from PyPI.
        work: Scratch folder for build/ and log/; kept, so that a rebuild is incremental.
        run: Runs a command in an environment; raises where it fails.
    """
    repair_exports(venv)
    python = venv / 'bin' / 'python'
    environment = {
        **os.environ,
        'AMENT_PREFIX_PATH': str(venv),
        'CMAKE_PREFIX_PATH': str(venv),
        'COLCON_HOME': str(work),
        # colcon's own choice ends with -l, which all but stops the build on a busy machine.
        'MAKEFLAGS': f'-j{os.cpu_count() or 1}',
        'PATH': f'{venv / "bin"}{os.pathsep}{os.environ.get("PATH", os.defpath)}',
    }
    environment.pop('PYTHONPATH', None)
    run(
        [
            str(python),
            '-m',
            'colcon',
            '--log-base',
            str(work),
            'build',
            '--base-paths',
            *map(str, SOURCES),
            '--build-base',
            str(work),
            '--merge-install',
            '--install-base',
            str(venv),
            '--cmake-args',
            f'-DPython3_EXECUTABLE={python}',
            '-DBUILD_TESTING=OFF',
        ],
        environment,
    )


def repair_exports(venv: Path) -> int:
    """Point the installed cmake exports at this machine's headers; return how many changed."""
    query = 'import sysconfig, numpy; print(sysconfig.get_paths()["include"], numpy.get_include())'
    answer = subprocess.run(
        [str(venv / 'bin' / 'python'), '-c', query], capture_output=True, text=True, check=True
    )
    python_include, numpy_include = answer.stdout.split()
    changed = 0
    for export in venv.glob('share/*/cmake/*.cmake'):
        text = export.read_text()
        repaired = FOREIGN_NUMPY.sub(numpy_include, text)
        repaired = FOREIGN_PYTHON.sub(python_include, repaired)
        if repaired != text:
            export.write_text(repaired)
            changed += 1
    return changed
