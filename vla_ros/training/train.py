"""`vla train`: demonstrations, vision, policy, checkpoint; stops and resumes at any point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import json
from pathlib import Path
import time
from typing import Any

import numpy as np
import torch

from vla_ros import paths
from vla_ros.robot import load_robot
from vla_ros.sim.tabletop import Tabletop
from vla_ros.training import demos, model, policy, vision
from vla_ros.training.flow import FlowLoss
from vla_ros.training.loop import on_device, Stage
from vla_ros.training.start import begin_from, claim, statistics_of


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result, apart from chance."""

    shards: int = 40  # of demos.EPISODES_PER_SHARD episodes
    vision_steps: int = 2200
    vision_batch: int = 128
    vision_rate: float = 1.5e-3
    policy_steps: int = 2800
    policy_batch: int = 128
    policy_samples: int = 3  # noise draws for each encoded prefix
    policy_rate: float = 1.2e-3
    seed: int = 0


# From a checkpoint: at a third of the rate, since it is to keep what it knows.
WARM = Recipe(shards=24, policy_steps=1400, policy_rate=4e-4)


@dataclass(frozen=True)
class Advance:
    """How far a stage has come."""

    stage: str
    done: int
    total: int
    detail: str = ''


def train(
    recipe: Recipe,
    work: Path,
    output: Path,
    seconds: float,
    workers: int,
    device: str,
    report: Callable[[Advance], None],
    begin: Path | None = None,
    more: Callable[[Path], Iterator[tuple[int, int]]] | None = None,
) -> bool:
    """Go on with training for a while.

    From a checkpoint the vision tower and the statistics stay those of the checkpoint: what its
    policy sees and says keeps its meaning, and there is no vision stage.

    Args:
        recipe: What to train.
        work: Folder for demonstrations and resumable state.
        output: The checkpoint folder; written after each slice of the policy stage.
        seconds: Length of this slice [s]; the stage in hand stops then.
        workers: Processes that record demonstrations.
        device: Where the networks train, such as 'cpu' or 'cuda'.
        report: Called as things advance.
        begin: The checkpoint folder where training begins; None: from nothing.
        more: Writes shards of its own into the folder it gets; yields (done, wanted) as it goes.

    Returns:
        Whether everything is finished.

    Raises:
        CheckpointError: `begin` is no checkpoint of the tiny model.
        ConfigError: `work` holds training that began elsewhere.
    """
    deadline = time.monotonic() + seconds
    torch.manual_seed(recipe.seed)
    # What is wrong with a checkpoint is said before minutes are spent on demonstrations.
    network = model.build_model() if begin is None else begin_from(begin)
    known = None if begin is None else statistics_of(begin)
    network.to(device)
    work.mkdir(parents=True, exist_ok=True)
    claim(work, begin)
    folder = work / 'demos'
    sources = {'demonstrations': demos.record(folder, recipe.shards, workers)}
    if more is not None:
        sources['hazards'] = more(folder)
    for name, source in sources.items():
        start = time.monotonic()
        for done, total in source:
            report(Advance(name, done, total))
            if done < total and time.monotonic() > deadline:
                return False
        _log(work, name, time.monotonic() - start)
    frames = demos.load_shards(folder)
    origin: dict[str, Any] = {'begun_from': str(begin)}
    if begin is None:
        reader = vision.PatchReader(network.model.vlm.vision_tower, model.WIDTH)
        seeing = Stage('vision', reader, work, recipe.vision_steps, recipe.vision_rate)
        if not seeing.done:
            _learn_to_see(recipe, frames, seeing, deadline, device, report)
            if not seeing.done:
                return False
        origin = {'vision': {'steps': seeing.step, 'seconds': seeing.seconds, **seeing.losses}}
    tower = network.model.vlm.vision_tower.requires_grad_(False)
    features = policy.encode(tower, frames.images, work / 'features.npy')
    asked = policy.requests(frames, workers, work / 'requests.npz')
    stats = known or policy.statistics(frames, asked)
    tokenizer = model.build_tokenizer()
    acting = Stage('policy', network, work, recipe.policy_steps, recipe.policy_rate)
    flow = FlowLoss(network, recipe.policy_samples)
    fast = torch.compile(flow)
    torch.manual_seed(recipe.seed + acting.step)  # a resumed run draws other noise
    rng = np.random.default_rng([recipe.seed, acting.step])
    acting.run(
        policy.batches(frames, asked, features, tokenizer, stats, recipe.policy_batch, rng),
        lambda batch: policy.flow_loss(fast, flow, on_device(batch, device)),
        deadline,
        _reporter('policy', report),
    )
    model.save_checkpoint(output, network.cpu(), tokenizer)
    policy.save_statistics(output, stats)
    facts = {
        'frames': len(frames),
        'episodes': recipe.shards * demos.EPISODES_PER_SHARD,
        'episodes_with_hazards': len(list(folder.glob('hazards_*.npz'))),
        **origin,
        'policy': {'steps': acting.step, 'seconds': acting.seconds, **acting.losses},
        'torch': torch.__version__,
        'device': device,
        'threads': torch.get_num_threads(),
    }
    (output / 'training.json').write_text(json.dumps(facts, indent=1) + '\n', encoding='utf-8')
    return acting.done


def _learn_to_see(
    recipe: Recipe,
    frames: demos.Frames,
    stage: Stage,
    deadline: float,
    device: str,
    report: Callable[[Advance], None],
) -> None:
    robot = load_robot(paths.find('robots', 'panda'))
    env = Tabletop(robot, robot.urdf_path)
    labels = vision.targets(frames, vision.Cameras(env))
    rng = np.random.default_rng([recipe.seed, stage.step])
    fast = torch.compile(stage.module)
    stage.run(
        vision.batches(frames, labels, recipe.vision_batch, rng),
        lambda batch: vision.reader_loss(fast, on_device(batch, device)),
        deadline,
        _reporter('vision', report),
    )


def _reporter(name: str, report: Callable[[Advance], None]) -> Callable[[Stage], None]:
    def tell(stage: Stage) -> None:
        detail = '  '.join(f'{k} {v:.4f}' for k, v in stage.losses.items())
        report(Advance(name, stage.step, stage.steps, detail))

    return tell


def _log(work: Path, stage: str, seconds: float) -> None:
    """Add up the wall time that a stage without a Stage has taken, over all slices."""
    path = work / 'seconds.json'
    table = json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}
    table[stage] = table.get(stage, 0.0) + seconds
    path.write_text(json.dumps(table), encoding='utf-8')
