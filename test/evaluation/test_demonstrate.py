"""Demonstrations that see hazards: what is kept of an episode, and what is played once only."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.evaluation import demonstrate as module
from vla_ros.evaluation.demonstrate import demonstrate, MODE, SEED
from vla_ros.evaluation.runner import Cell, Player
from vla_ros.evaluation.scripted import NAME as EXPERT
from vla_ros.evaluation.suite import Trial
from vla_ros.sim.experts import STEP
from vla_ros.training.demos import CAMERAS, IMAGE_SIZE, load_shards, REPLAN

CELLS = [Cell(EXPERT, MODE, Trial('none')), Cell(EXPERT, MODE, Trial('on', 2.0))]


@pytest.fixture(scope='module')
def played(tmp_path_factory):
    """Return a folder with an episode without and with a thing on the path, and how they went.

    Also the seed of what was played.
    """
    folder, outcomes, seeds = tmp_path_factory.mktemp('demos'), {}, set()
    play = Player.play

    def watched(self, index, cell, film=None):
        one = play(self, index, cell, film)
        outcomes[cell.trial.axis] = one.outcome
        return one

    def two(evaluation):
        seeds.add(evaluation.seed)
        return [(0, cell) for cell in CELLS]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, 'jobs', two)
        patch.setattr(Player, 'play', watched)
        assert list(demonstrate(folder, 1, EXPERT, 1)) == [(0, 2), (1, 2), (2, 2)]
    return folder, outcomes, seeds


def orange(shard):
    """Return how many pixels (N,) of the scene camera have a hazard's colour."""
    red, green, blue = np.moveaxis(shard['images'][:, 0].astype(int), -1, 0)
    return ((red > 150) & (green < 0.75 * red) & (blue < 0.4 * red)).sum((1, 2))


def test_instants_are_kept_as_far_apart_as_in_other_demonstrations(played):
    folder, outcomes, _ = played
    frames = load_shards(folder)
    assert frames.images.shape[1:] == (len(CAMERAS), IMAGE_SIZE, IMAGE_SIZE, 3)
    wanted = sum(1 + int(outcome.seconds / (REPLAN * STEP)) for outcome in outcomes.values())
    assert abs(len(frames) - wanted) <= 2
    speeds = np.linalg.norm(np.diff(frames.tool, axis=0), axis=1) / (REPLAN * STEP)
    assert 0.05 < np.median(speeds) < 0.35, 'the tool moves as the expert moves it'


def test_a_hazard_is_seen_and_the_way_leads_round_it(played):
    folder, outcomes, _ = played
    plain, hindered = (
        np.load(folder / f'hazards_0000_{name}_expert.npz') for name in ('none0', 'on2')
    )
    assert orange(hindered).max() > orange(plain).max() + 20
    assert outcomes['on'].success and not outcomes['on'].contact


def test_what_is_there_is_not_played_again(played, monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError

    monkeypatch.setattr(module, 'jobs', lambda evaluation: [(0, cell) for cell in CELLS])
    monkeypatch.setattr(Player, 'play', forbidden)
    assert list(demonstrate(played[0], 1, EXPERT, 1)) == [(2, 2)]


def test_no_evaluation_has_the_seed_of_demonstrations(played):
    from vla_ros.cli.eval import verb

    seed = next(p for p in verb.params if p.name == 'seed')
    assert played[2] == {SEED} and seed.type.max < SEED
