"""What LeRobot writes beside its weights, described by names and shapes; values are the test's.

Newer: two pipelines, each a JSON file whose normaliser names a file of statistics, keys
`<feature>.<statistic>`. Older: tensors `normalize_inputs.buffer_<feature with _>.<statistic>`
among the weights, and the modes in config.json.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

MODES = {'VISUAL': 'IDENTITY', 'STATE': 'MEAN_STD', 'ACTION': 'MEAN_STD'}
BEFORE = 'policy_preprocessor_step_5_normalizer_processor.safetensors'
AFTER = 'policy_postprocessor_step_0_unnormalizer_processor.safetensors'


def features(state: int, action: int, cameras: tuple[str, ...]) -> dict:
    """Return `input_features` and `output_features` of config.json."""
    inputs = {'observation.state': {'type': 'STATE', 'shape': [state]}}
    for camera in cameras:
        inputs[f'observation.images.{camera}'] = {'type': 'VISUAL', 'shape': [3, 480, 640]}
    outputs = {'action': {'type': 'ACTION', 'shape': [action]}}
    return {'input_features': inputs, 'output_features': outputs}


def write_config(folder: Path, kind: str, table: dict) -> None:
    """Write config.json; `type` is how LeRobot names the policy."""
    text = json.dumps({'type': kind, 'normalization_mapping': MODES, **table}, indent=4)
    (folder / 'config.json').write_text(text, encoding='utf-8')


def write_pipelines(
    folder: Path, config: dict, stats: dict[str, dict[str, np.ndarray]], modes: dict = MODES,
    newline: str = 'smolvla_new_line_processor',
) -> None:  # fmt: skip
    """Write both pipelines and their statistics, as LeRobot 0.4 to 0.6 do."""
    norm = {
        'eps': 1e-08,
        'features': {**config['input_features'], **config['output_features']},
        'norm_map': modes,
    }
    tokenizer = {'max_length': 48, 'task_key': 'task', 'padding_side': 'right',
                 'padding': 'longest', 'truncation': True,
                 'tokenizer_name': config.get('vlm_model_name', 'none')}  # fmt: skip
    device = {'device': 'cpu', 'float_dtype': None}
    pipelines = {
        'policy_preprocessor': [
            {'registry_name': 'rename_observations_processor', 'config': {'rename_map': {}}},
            {'registry_name': 'to_batch_processor', 'config': {}},
            {'registry_name': newline, 'config': {}},
            {'registry_name': 'tokenizer_processor', 'config': tokenizer},
            {'registry_name': 'device_processor', 'config': device},
            {'registry_name': 'normalizer_processor', 'config': norm, 'state_file': BEFORE},
        ],
        'policy_postprocessor': [
            {'registry_name': 'unnormalizer_processor', 'config': norm, 'state_file': AFTER},
            {'registry_name': 'device_processor', 'config': device},
        ],
    }
    for name, steps in pipelines.items():
        text = json.dumps({'name': name, 'steps': steps}, indent=2)
        (folder / f'{name}.json').write_text(text, encoding='utf-8')
    flat = {f'{feature}.{name}': np.asarray(value, np.float32)
            for feature, table in stats.items() for name, value in table.items()}  # fmt: skip
    save_file(flat, folder / BEFORE)
    save_file(flat, folder / AFTER)


def old_statistics(
    stats: dict[str, dict[str, np.ndarray]], variant: str = ''
) -> dict[str, np.ndarray]:
    """Return the tensors that LeRobot 0.2 and 0.3 keep among the weights."""
    tensors = {}
    for feature, table in stats.items():
        owners = ('normalize_targets', 'unnormalize_outputs')
        for owner in owners if feature == 'action' else ('normalize_inputs',):
            for name, value in table.items():
                key = f'{owner}.{variant}buffer_{feature.replace(".", "_")}.{name}'
                tensors[key] = np.asarray(value, np.float32)
    return tensors
