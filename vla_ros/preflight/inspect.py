"""Reads what machine.py judges: files of Linux, the environment, torch in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
import threading
from xml.etree import ElementTree

from vla_ros import paths
from vla_ros.bootstrap import profile_variable
from vla_ros.preflight.machine import Accelerator, Machine, PRIORITY, Profile
from vla_ros.spec import PolicySpec

TORCH = 60.0  # [s] for torch to load and to answer
FASTDDS = ('libfastdds', 'libfastrtps')
_ASK = """
import json, sys, torch
free = torch.cuda.mem_get_info(sys.argv[1])[0]
print(json.dumps([torch.cuda.get_device_name(sys.argv[1]), free]))
"""


def inspect_machine(policy: PolicySpec, environment: Mapping[str, str] = os.environ) -> Machine:
    """Return what this machine gives a policy and the graph around it."""
    shared = shutil.disk_usage('/dev/shm') if Path('/dev/shm').is_dir() else None
    accelerator, why = _accelerator(policy.device)
    domain = environment.get('ROS_DOMAIN_ID', '0')
    return Machine(
        rmw=environment.get('RMW_IMPLEMENTATION', ''),
        profile=read_profile(environment.get(profile_variable(), '')),
        unprofiled=tuple(unprofiled(domain)),
        domain=domain,
        discovery=environment.get('ROS_AUTOMATIC_DISCOVERY_RANGE', 'SUBNET').upper(),
        receive_buffer=int(_line('/proc/sys/net/core/rmem_max') or 0),
        shared_total=shared.total if shared else 0,
        shared_free=shared.free if shared else 0,
        memory_free=_meminfo('MemAvailable'),
        accelerator=accelerator,
        no_accelerator=why,
        weights=_weights(policy),
        disk_free=shutil.disk_usage('.').free,
        cores=len(os.sched_getaffinity(0)),
        governor=_line('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor'),
        fifo=_may_fifo(),
    )


def read_profile(file: str) -> Profile | None:
    """Return what a profile file sets; None: there is no such file, or it is not XML."""
    try:
        root = ElementTree.parse(file).getroot()
    except (OSError, ElementTree.ParseError):
        return None

    def largest(tag: str) -> int:
        texts = [e.text or '' for e in root.iter() if e.tag.rpartition('}')[2] == tag]
        return max((int(text) for text in texts if text.strip().isdecimal()), default=0)

    return Profile(
        file, largest('segment_size'), largest('maxMessageSize'), largest('receiveBufferSize')
    )


def unprofiled(domain: str, proc: Path = Path('/proc')) -> Iterator[str]:
    """Yield the processes of a domain that use Fast DDS and were started without a profile.

    Ours set their own when they start, whatever they were started with.
    """
    for folder in sorted(proc.glob('[0-9]*')):
        try:
            command = (folder / 'cmdline').read_bytes().decode(errors='replace').split('\0')
            said = (folder / 'environ').read_bytes().decode(errors='replace').split('\0')
            maps = (folder / 'maps').read_text(errors='replace')
        except OSError:  # of another user, or gone
            continue
        known = dict(part.partition('=')[::2] for part in said)
        here = known.get('ROS_DOMAIN_ID', '0') == domain and any(name in maps for name in FASTDDS)
        named = any(known.get(f'{name}_DEFAULT_PROFILES_FILE') for name in ('FASTDDS', 'FASTRTPS'))
        ours = int(folder.name) == os.getpid() or any(map(_is_ours, command))
        if here and not named and not ours:
            yield f'{Path(command[0]).name} (pid {folder.name})'


def _is_ours(argument: str) -> bool:
    program = '/lib/vla_ros/' in argument or Path(argument).name == 'vla'
    return program or argument.startswith('vla_ros.')


def _accelerator(device: str) -> tuple[Accelerator | None, str]:
    if device == 'cpu':
        return None, 'the policy asks for none'
    try:
        done = subprocess.run(
            [sys.executable, '-c', _ASK, device],
            capture_output=True, text=True, timeout=TORCH, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None, f'torch did not answer within {TORCH:.0f} s'
    if done.returncode:
        return None, f'torch cannot use {device}: {(done.stderr.strip() or "?").splitlines()[-1]}'
    name, free = json.loads(done.stdout)
    return Accelerator(name, free), ''


def _weights(policy: PolicySpec) -> int:
    """Return the bytes of the tensors in the policy's folder."""
    if policy.checkpoint is None:
        return 0
    folder = paths.share() / policy.checkpoint
    files = [f for f in folder.rglob('*') if f.suffix in ('.safetensors', '.bin', '.pt')]
    return sum(file.stat().st_size for file in files)


def _may_fifo() -> bool:
    """Try it, in a thread that ends at once: a limit, a capability and a cgroup all count."""
    allowed = []

    def attempt() -> None:
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
            allowed.append(True)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return bool(allowed)


def _meminfo(key: str) -> int:
    lines = Path('/proc/meminfo').read_text().splitlines()
    return next((1024 * int(x.split()[1]) for x in lines if x.startswith(key)), 0)


def _line(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError:
        return ''
