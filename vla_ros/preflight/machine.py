"""What this machine gives the system: transport, memory, disk, processor, priority; judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vla_ros.preflight.finding import bad, Finding, gather, ok, unseen, warn
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec

MIB, GIB = 2**20, 2**30  # [B]
PROCESSES = 8  # with a shared-memory segment each: the graph, drivers, a recorder
PICTURES = 4  # that a segment must hold, else the oldest is overwritten while it is read
DOMAINS, QUIET = 232, 101  # highest ROS_DOMAIN_ID, and highest below the ports of Linux's own
RANGES = ('SUBNET', 'LOCALHOST', 'SYSTEM_DEFAULT')
CORES = 2  # filter and policy side by side
PRIORITY = 10  # of SCHED_FIFO, that the control loop asks for
RECORD = 600.0  # [s] of raw pictures that the disk must hold
SPARE = 1.3  # memory of a model in use to that of its weights


@dataclass(frozen=True)
class Profile:
    """What a Fast DDS profile file sets; 0: nothing, so the default holds."""

    file: str
    segment: int = 0  # [B] of shared memory
    message: int = 0  # [B] largest in shared memory
    buffer: int = 0  # [B] of a socket


@dataclass(frozen=True)
class Accelerator:
    """A GPU."""

    name: str
    free: int  # [B]


@dataclass(frozen=True)
class Machine:
    """What the machine is and has."""

    rmw: str = ''  # RMW_IMPLEMENTATION
    profile: Profile | None = None  # of this environment; None: none is named, or no such file
    unprofiled: tuple[str, ...] = ()  # processes of this domain on Fast DDS without one
    domain: str = '0'  # ROS_DOMAIN_ID
    discovery: str = 'SUBNET'  # ROS_AUTOMATIC_DISCOVERY_RANGE
    receive_buffer: int = 0  # [B] net.core.rmem_max; 0: unknown
    shared_total: int = 0  # [B] of /dev/shm; 0: there is none
    shared_free: int = 0  # [B]
    memory_free: int = 0  # [B]
    accelerator: Accelerator | None = None
    no_accelerator: str = 'torch sees no GPU'  # why
    weights: int = 0  # [B] of the policy's checkpoint
    disk_free: int = 0  # [B] where bags go
    cores: int = 1
    governor: str = ''  # of the processor's clock; empty: there is none
    fifo: bool = False  # whether SCHED_FIFO is allowed


def judge_machine(machine: Machine, robot: RobotSpec, policy: PolicySpec) -> list[Finding]:
    """Return what of the machine will trouble this robot and policy."""
    sizes = [camera.width * camera.height * 3 for camera in robot.cameras]
    flow = sum(size * camera.rate for size, camera in zip(sizes, robot.cameras))
    largest = max(sizes, default=0)
    return [
        *_transport(machine, largest),
        *gather('shared memory', _shared(machine), f'{machine.shared_total / MIB:.0f} MiB'),
        *gather('domain', _domain(machine), f'{machine.domain}, {machine.discovery}'),
        *_memory(machine, policy),
        *gather('disk', _disk(machine, flow), f'{machine.disk_free / GIB:.0f} GiB free'),
        *gather('processor', _processor(machine), f'{machine.cores} cores {machine.governor}'),
    ]


def _transport(machine: Machine, largest: int) -> list[Finding]:
    if machine.rmw not in ('', 'rmw_fastrtps_cpp', 'rmw_fastrtps_dynamic_cpp'):
        why = f'{machine.rmw} is in use; see its manual for large messages'
        return [unseen('dds profile', why)]
    profile = machine.profile
    told = '' if profile is None else profile.file
    findings = gather('dds profile', _profile(machine, largest), told)
    if profile is None or not machine.receive_buffer:
        return findings
    if machine.receive_buffer < profile.buffer:
        cure = f'sudo sysctl -w net.core.rmem_max={profile.buffer}; it counts between machines'
        found = f'net.core.rmem_max is {machine.receive_buffer}'
        return [*findings, warn('socket buffers', found, str(profile.buffer), cure)]
    return [*findings, ok('socket buffers', f'net.core.rmem_max is {machine.receive_buffer}')]


def _profile(machine: Machine, largest: int) -> Iterator[Finding]:
    cure = 'export FASTDDS_DEFAULT_PROFILES_FILE=.../config/dds/fastdds.xml (on Humble and Jazzy '
    cure += 'FASTRTPS_DEFAULT_PROFILES_FILE) wherever a camera driver starts'
    profile = machine.profile
    if profile is None:
        yield bad('dds profile', 'no profile file is named', 'one with shared memory', cure)
    elif profile.segment < PICTURES * largest or profile.message < largest:
        found = f'{profile.file}: segment {profile.segment} B, message {profile.message} B'
        expected = f'{PICTURES * largest} B and {largest} B for these pictures'
        yield bad('dds profile', found, expected, 'enlarge both in the file, or use ours')
    for process in machine.unprofiled:
        yield warn('dds profile', f'{process} runs without a profile', 'the same one', cure)


def _shared(machine: Machine) -> Iterator[Finding]:
    if machine.profile is None or not machine.profile.segment:
        return
    wanted = PROCESSES * machine.profile.segment
    cure = 'docker run --shm-size=1g (or --ipc=host); delete old /dev/shm/fastrtps_* files'
    free = f'{machine.shared_free / MIB:.0f} MiB of /dev/shm are free'
    if machine.shared_free < machine.profile.segment:
        yield bad('shared memory', free, f'{wanted / MIB:.0f} MiB', cure)
    elif machine.shared_free < wanted:
        yield warn('shared memory', free, f'{wanted / MIB:.0f} MiB', cure)


def _domain(machine: Machine) -> Iterator[Finding]:
    number = int(machine.domain) if machine.domain.isdecimal() else -1
    cure = f'export ROS_DOMAIN_ID=0 to {QUIET}, the same everywhere'
    if not 0 <= number <= DOMAINS:
        yield bad('domain', f"ROS_DOMAIN_ID is '{machine.domain}'", f'0 to {DOMAINS}', cure)
    elif number > QUIET:
        found = f'ROS_DOMAIN_ID is {number}, whose ports Linux gives away'
        yield warn('domain', found, f'0 to {QUIET}', cure)
    if machine.discovery == 'OFF':
        cure = 'export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST, or SUBNET'
        yield bad('domain', 'discovery is off', 'LOCALHOST or SUBNET', cure)
    elif machine.discovery not in RANGES:
        cure = f'ROS_AUTOMATIC_DISCOVERY_RANGE is one of {", ".join(RANGES)}'
        yield warn('domain', f"discovery range '{machine.discovery}'", 'LOCALHOST', cure)


def _memory(machine: Machine, policy: PolicySpec) -> list[Finding]:
    need = SPARE * machine.weights
    told = f'{need / GIB:.1f} GiB for the weights of {policy.name}'
    cure = 'a smaller dtype or weights: int8, another device, or vla serve on a larger machine'
    if policy.device == 'cpu':
        if machine.memory_free < need:
            found = f'{machine.memory_free / GIB:.1f} GiB of memory are free'
            return [bad('model memory', found, told, cure)]
        return [ok('model memory', f'{machine.memory_free / GIB:.1f} GiB free, {told}')]
    if machine.accelerator is None:
        cure = 'install its driver and a torch with CUDA, or set device: cpu in the policy file'
        return [bad('model memory', machine.no_accelerator, f'{policy.device}', cure)]
    found = f'{machine.accelerator.free / GIB:.1f} GiB free on {machine.accelerator.name}'
    if machine.accelerator.free < need:
        return [bad('model memory', found, told, cure)]
    return [ok('model memory', f'{found}, {told}')]


def _disk(machine: Machine, flow: float) -> Iterator[Finding]:
    if flow and machine.disk_free < RECORD * flow:
        cure = 'free some, or record with images:=jpeg'
        found = f'{machine.disk_free / GIB:.1f} GiB are free'
        expected = f'{RECORD * flow / GIB:.1f} GiB for {RECORD / 60:.0f} minutes of raw pictures'
        yield warn('disk', found, expected, cure)


def _processor(machine: Machine) -> Iterator[Finding]:
    if machine.cores < CORES:
        cure = 'run the policy on another machine (vla serve)'
        yield warn('processor', f'{machine.cores} core', f'{CORES} or more', cure)
    if machine.governor not in ('', 'performance'):
        cure = 'sudo cpupower frequency-set -g performance'
        yield warn('processor', f"governor '{machine.governor}'", 'performance', cure)
    if not machine.fifo:
        cure = f'rtprio {PRIORITY} and nice -10 for this user in /etc/security/limits.d'
        yield warn('processor', 'SCHED_FIFO is not allowed', 'a control loop with priority', cure)
