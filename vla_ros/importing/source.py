"""Where a description comes from: a URDF, a xacro file, or a topic."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
import shutil
import subprocess
import sys

from vla_ros.errors import ConfigError, MissingPackageError

PATIENCE = 60.0  # [s] for xacro


def read_source(path: Path, arguments: Sequence[str] = ()) -> str:
    """Return the text of a URDF; a file that ends in .xacro is processed by xacro.

    Args:
        path: Of the file.
        arguments: For xacro, such as `name:=value`.

    Raises:
        ConfigError: The file is missing, or xacro refused it.
        MissingPackageError: It needs xacro, which is not there.
    """
    if not path.is_file():
        raise ConfigError(f'{path} is not there: name a URDF or a xacro file.')
    if path.suffix != '.xacro':
        if arguments:
            raise ConfigError(f'{path.name} is no .xacro file and takes no {arguments[0]}.')
        return path.read_text(encoding='utf-8')
    program = shutil.which('xacro')
    if find_spec('xacro') is not None:
        command = [sys.executable, '-m', 'xacro']
    elif program is not None:
        command = [program]
    else:
        raise MissingPackageError(
            'xacro', f'for {path.name}', 'install ros-DISTRO-xacro, or `pip install xacro`'
        )
    try:
        answer = subprocess.run(
            [*command, str(path), *arguments],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f'xacro has not done {path.name} in {PATIENCE:g} s.') from error
    if answer.returncode != 0:
        said = answer.stderr.strip().splitlines() or ['no message']
        raise ConfigError(f'xacro cannot process {path.name}: {said[-1]}')
    return answer.stdout
