"""`vla train --data`: the shipped tiny VLA goes on learning, from a LeRobot data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import json
from pathlib import Path
import shutil
import time

import numpy as np
import torch
from torch import Tensor
from transformers import PI0ForConditionalGeneration, PreTrainedTokenizerFast

from vla_ros.errors import ConfigError, PolicyError
from vla_ros.policies.loading import checkpoint, load_pretrained
from vla_ros.policies.tiny_pi0 import load_tokenizer
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec
from vla_ros.statistics import load_norm_stats, MeanStd
from vla_ros.training import model, policy
from vla_ros.training.flow import FlowLoss
from vla_ros.training.loop import on_device, Stage
from vla_ros.training.samples import load_samples, Samples
from vla_ros.training.train import Advance


@dataclass(frozen=True)
class Tuning:
    """Everything that decides the result, apart from chance."""

    steps: int = 600
    batch: int = 64
    samples: int = 3  # noise draws for each encoded prefix
    rate: float = 2e-4  # a sixth of what the model was trained with: it is to keep what it knows
    seed: int = 0


def finetune(
    tuning: Tuning,
    data: Path,
    spec: PolicySpec,
    robot: RobotSpec,
    work: Path,
    output: Path,
    seconds: float,
    device: str,
    report: Callable[[Advance], None],
) -> bool:
    """Go on with fine-tuning for a while.

    The vision tower and the statistics stay those of the checkpoint: the network's inputs keep
    their meaning, so that what it knows still holds.

    Args:
        tuning: How to train.
        data: A LeRobot data set of the robot, with the cameras of the policy.
        spec: The policy file; its checkpoint is where training begins.
        robot: The robot file.
        work: Folder for resumable state.
        output: The checkpoint folder; written after each slice.
        seconds: Length of this slice [s].
        device: Where the network trains, such as 'cpu' or 'cuda'.
        report: Called as things advance.

    Returns:
        Whether everything is finished.

    Raises:
        BagError: The data set cannot be read.
        PolicyError: It does not fit the policy, or says words that the model does not know.
        ConfigError: `work` holds the state of another data set.
    """
    deadline = time.monotonic() + seconds
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(tuning.seed)
    folder = checkpoint(spec)
    stats = load_norm_stats(folder / policy.STATISTICS)
    network = load_pretrained(PI0ForConditionalGeneration, folder).to(device)
    samples = load_samples(
        data, spec, robot, lambda done, total: report(Advance('data set', done, total))
    )
    tokenizer = load_tokenizer(folder)
    words = tokens(samples.sentences, tokenizer)
    _claim(work, data, samples)
    tower = network.model.vlm.vision_tower
    network.requires_grad_(True)
    tower.requires_grad_(False)
    features = policy.encode(tower, samples.images, work / 'features.npy')
    stage = Stage('finetune', network, work, tuning.steps, tuning.rate)
    flow = FlowLoss(network, tuning.samples)
    torch.manual_seed(tuning.seed + stage.step)  # a resumed run draws other noise
    rng = np.random.default_rng([tuning.seed, stage.step])
    stage.run(
        batches(samples, features, words, stats, tuning.batch, rng),
        lambda batch: policy.flow_loss(flow, flow, on_device(batch, device)),
        deadline,
        lambda at: report(
            Advance('finetune', at.step, at.steps, f'flow {at.losses.get("flow", 0.0):.4f}')
        ),
    )
    model.save_checkpoint(output, network.cpu(), tokenizer)
    if output.resolve() != folder.resolve():
        shutil.copyfile(folder / policy.STATISTICS, output / policy.STATISTICS)
    facts = {
        'begun_from': str(spec.checkpoint),
        'frames': len(samples),
        'sentences': list(samples.sentences),
        'finetune': {'steps': stage.step, 'seconds': stage.seconds, **stage.losses},
        'torch': torch.__version__,
        'device': device,
    }
    (output / 'training.json').write_text(json.dumps(facts, indent=1) + '\n', encoding='utf-8')
    return stage.done


def tokens(sentences: tuple[str, ...], tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """Return the token ids (M, MAX_WORDS) of sentences, padded.

    Raises:
        PolicyError: The model does not know a word, or a sentence is too long for it.
    """
    known = tokenizer.get_vocab()
    ids = [tokenizer(f'<bos> {text}')['input_ids'] for text in sentences]
    for text, row in zip(sentences, ids):
        if known['<unk>'] in row:
            strange = [w for w in text.lower().split() if w not in known]
            raise PolicyError(
                f"the tiny model does not know '{' '.join(strange) or text}' of '{text}'; its "
                f'words are {", ".join(sorted(set(known) - set(model.SPECIAL)))}: say it in them, '
                'with `vla export --task` where a bag has no instruction.'
            )
        if len(row) > model.MAX_WORDS:
            raise PolicyError(
                f"'{text}' has {len(row) - 1} words, the tiny model takes {model.MAX_WORDS - 1}."
            )
    padded = [row + [known['<pad>']] * (model.MAX_WORDS - len(row)) for row in ids]
    return torch.tensor(padded)


def batches(
    samples: Samples,
    features: np.ndarray,
    words: Tensor,
    stats: dict[str, MeanStd],
    size: int,
    rng: np.random.Generator,
) -> Iterator[dict[str, Tensor]]:
    """Yield normalised batches without end, each with rows drawn at random.

    Args:
        samples: N rows.
        features: (1, N, V, D) of their pictures.
        words: (M, L) token ids of the sentences.
        stats: Of state and actions, the checkpoint's.
        size: Rows in a batch.
        rng: Draws them.
    """
    state = torch.from_numpy(stats['state'].normalize(samples.state)).float()
    actions = torch.from_numpy(stats['actions'].normalize(samples.actions)).float()
    padding = model.vocabulary()['<pad>']
    while True:
        index = np.sort(rng.integers(len(samples), size=size))
        said = words[samples.sentence[index]]
        yield {
            'features': torch.from_numpy(np.asarray(features[0][index])).float(),
            'words': said,
            'word_mask': (said != padding).long(),
            'state': state[index],
            'actions': actions[index],
        }


def _claim(work: Path, data: Path, samples: Samples) -> None:
    """Refuse a folder with the state of another data set: training would go on from there."""
    mine = {'data': str(data.resolve()), 'frames': len(samples)}
    mark = work / 'data.json'
    if mark.exists() and (found := json.loads(mark.read_text(encoding='utf-8'))) != mine:
        raise ConfigError(
            f'{work} holds the state of {found["data"]} with {found["frames"]} frames, not of '
            f'{mine["data"]} with {mine["frames"]}: name another --work.'
        )
    mark.write_text(json.dumps(mine) + '\n', encoding='utf-8')
