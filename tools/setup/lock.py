"""Writes requirements/lock.txt: what the packages of direct.txt bring along, resolved together."""

from __future__ import annotations

import json
from pathlib import Path
import re
import subprocess
import sys

REQUIREMENTS = Path(__file__).resolve().parents[2] / 'requirements'
HEAD = '# What the packages of direct.txt bring along, resolved together. `make lock` writes it.\n'
# They come with torch's CUDA build only, which pins each of them itself.
CUDA = re.compile(r'(nvidia|cuda|triton)')


def main() -> None:
    """Resolve from nothing, as on an empty machine, and write every pin that is not direct."""
    direct = REQUIREMENTS / 'direct.txt'
    report = subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            'install',
            '--quiet',
            '--dry-run',
            '--ignore-installed',
            '--report',
            '-',
            '-r',
            str(direct),
        ],
        stdout=subprocess.PIPE,
        check=True,
    )
    resolved = [entry['metadata'] for entry in json.loads(report.stdout)['install']]
    pins = {normal(entry['name']): entry['version'].split('+')[0] for entry in resolved}
    named = {
        normal(re.split(r'[=\[ ]', line)[0])
        for line in direct.read_text().splitlines()
        if line and not line.startswith('#')
    }
    lines = [
        f'{name}=={pins[name]}\n'
        for name in sorted(pins)
        if name not in named and not CUDA.match(name)
    ]
    (REQUIREMENTS / 'lock.txt').write_text(HEAD + ''.join(lines))


def normal(name: str) -> str:
    """Return a distribution's name as PyPI compares it."""
    return re.sub(r'[-_.]+', '-', name).lower()


if __name__ == '__main__':
    main()
