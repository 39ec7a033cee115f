"""Strategies: the protocol in base.py, the registry here, one strategy a file; numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vla_ros.actions.strategies.base import Laid, Strategy
from vla_ros.actions.strategies.bid import BID
from vla_ros.actions.strategies.crossfade import Crossfade
from vla_ros.actions.strategies.ensemble import TemporalEnsemble
from vla_ros.actions.strategies.latest import Latest
from vla_ros.actions.strategies.rtc import RealTimeChunking
from vla_ros.actions.strategies.synchronous import Synchronous
from vla_ros.actions.strategies.weighted import Weighted
from vla_ros.config import build
from vla_ros.errors import UnknownNameError

__all__ = ['STRATEGIES', 'Laid', 'Strategy', 'make_strategy']

STRATEGIES: dict[str, type[Strategy]] = {
    'bid': BID,
    'crossfade': Crossfade,
    'ensemble': TemporalEnsemble,
    'latest': Latest,
    'rtc': RealTimeChunking,
    'synchronous': Synchronous,
    'weighted': Weighted,
}


def make_strategy(name: str, options: Mapping[str, Any] | None, where: str) -> Strategy:
    """Build a strategy from its name and options.

    Args:
        name: A key of STRATEGIES.
        options: Fields of its class; None: all as they are by default.
        where: Place of the name, such as 'panda_pi0.yaml: strategy', for messages.

    Raises:
        UnknownNameError: No strategy has that name, or it has no such option.
        ConfigError: An option has the wrong type or a value that makes no sense.
    """
    if name not in STRATEGIES:
        raise UnknownNameError('strategy', name, STRATEGIES, where)
    return build(STRATEGIES[name], {} if options is None else options, f'{where}: {name}')
