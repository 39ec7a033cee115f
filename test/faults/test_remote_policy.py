"""A policy server that garbles, stalls or dies stops the arm with a reason; it recovers."""

from __future__ import annotations


def test_whatever_becomes_of_its_server_the_arm_stops_with_a_reason_and_recovers(remote):
    remote.moves()
    remote.garble()
    remote.stops('not msgpack')
    remote.heal()
    remote.moves()
    remote.stall()
    remote.stops('no handshake')
    remote.go_on()
    remote.moves()
    remote.kill()
    remote.stops('Connection refused')
    remote.serve_again()
    remote.moves()
    assert not remote.wrong, 'a command or a motion that may never be'
