"""Every adapter that loads weights."""

from __future__ import annotations

from case import Case
from oft_case import OftCase
from openvla_case import OpenVlaCase
from pi_cases import PiCase
from pi_fast_case import FastCase
from smolvla_case import SmolVlaCase
from tiny_pi0_case import TinyPi0Case

CASES: dict[str, Case] = {
    case.name: case
    for case in (
        PiCase('pi0'), PiCase('pi05'), FastCase(), SmolVlaCase(), OpenVlaCase(), OftCase(),
        TinyPi0Case(),
    )
}  # fmt: skip
