"""The three protobuf messages of LeRobot's policy server, which hold bytes and little else.

Source: transport.AsyncInference of lerobot/transport/services.proto, the same in the releases
0.4.0 to 0.6.1.
"""

from __future__ import annotations

from collections.abc import Iterator

from vla_ros.policies.wire.message import WireError

PART = 2 * 2**20  # [bytes] of one message of a stream; servers take at most 4 MB
BEGIN, MIDDLE, END = 1, 2, 3  # TransferState


def holder(data: bytes) -> bytes:
    """Return the protobuf message {bytes data = 1}."""
    return b'\x0a' + _varint(len(data)) + data


def stream(data: bytes) -> Iterator[bytes]:
    """Yield the protobuf messages {TransferState state = 1; bytes data = 2} of an observation."""
    for first in range(0, len(data), PART):
        part = data[first : first + PART]
        state = END if first + PART >= len(data) else MIDDLE if first else BEGIN
        yield bytes((0x08, state, 0x12)) + _varint(len(part)) + part


def held(message: bytes) -> bytes:
    """Return the field of a protobuf message {bytes data = 1}; empty where it is left out.

    Raises:
        WireError: It is no such message.
    """
    if not message:
        return b''
    groups = 1
    while groups < 5 and message[groups : groups + 1] >= b'\x80':
        groups += 1
    size = sum((byte & 0x7F) << 7 * k for k, byte in enumerate(message[1 : 1 + groups]))
    if message[0] != 0x0A or len(message) != 1 + groups + size:
        raise WireError('a message that is not {bytes data = 1}.')
    return message[1 + groups :]


def _varint(number: int) -> bytes:
    """Return a number in groups of 7 bits, lowest first."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*groups, number))
