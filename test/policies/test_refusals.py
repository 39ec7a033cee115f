"""One contract for every adapter and layout: what cannot be used is one error, file and cure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import shutil

from case import Case, edit_json, ROBOT
from cases import CASES
import pytest
from safetensors.torch import load_file, save_file
import torch

from vla_ros.errors import CheckpointError, UnknownNameError, VlaError
from vla_ros.policies.registry import create
from vla_ros.spec import StateSlice

ALL = [(name, layout) for name, case in CASES.items() for layout in case.layouts]
CURES = (
    'copy', 'Copy', 'correct', 'choose', 'Did you mean', 'Known:', 'give each', 'download',
    'Download', 'point the policy', 'at least one', 'Run `vla train`',
)  # fmt: skip


@pytest.fixture(scope='module')
def folders(tmp_path_factory) -> dict[tuple[str, str], Path]:
    """Return whole checkpoints that nobody changes."""
    root = tmp_path_factory.mktemp('checkpoints')
    found = {one: root / '-'.join(one).replace(' ', '_') for one in ALL}
    for (name, layout), folder in found.items():
        CASES[name].write(folder, layout)
    return found


@pytest.fixture(params=ALL, ids='-'.join)
def one(request, folders) -> tuple[Case, str, Path]:
    """Return a case, a layout and its whole folder."""
    name, layout = request.param
    return CASES[name], layout, folders[name, layout]


@pytest.fixture
def copy(one, tmp_path) -> tuple[Case, str, Path]:
    """Return the same with a folder that a test may damage."""
    case, layout, folder = one
    return case, layout, Path(shutil.copytree(folder, tmp_path / 'copy'))


def refused(case: Case, layout: str, folder: Path, error=CheckpointError, **changes) -> str:
    """Return the message of the one error that creating a policy gives."""
    spec = replace(case.spec(folder, layout), **changes)
    with pytest.raises(VlaError) as caught:
        create(spec, ROBOT)
    text = str(caught.value)
    assert isinstance(caught.value, error), repr(caught.value)
    assert any(cure in text for cure in CURES), text
    return text


def weights(folder: Path) -> list[Path]:
    return sorted(folder.glob('model*.safetensors'))


def test_a_wrong_unnorm_key(one):
    case, layout, folder = one
    text = refused(case, layout, folder, UnknownNameError, unnorm_key='nowhere')
    assert "'nowhere'" in text and str(folder) in text


def test_no_camera_and_too_many(one):
    case, layout, folder = one
    images = case.spec(folder, layout).images
    for count in (0, 6) if case.counts_cameras(layout) else (0,):
        wrong = tuple(images[k % len(images)] for k in range(count))
        text = refused(case, layout, folder, images=wrong)
        assert 'image' in text or f'cameras {count}' in text
        assert folder.name in text


def test_a_state_of_another_size(one):
    case, layout, folder = one
    state = case.spec(folder, layout).state
    wrong = state[:-1] or (StateSlice('gripper', 'open_fraction'),)
    text = refused(case, layout, folder, state=wrong)
    assert 'state' in text and folder.name in text


def test_no_statistics(copy):
    case, layout, folder = copy
    case.lose_statistics(folder, layout)
    assert str(folder) in refused(case, layout, folder)


def test_weights_that_are_cut_short_or_not_there(copy):
    case, layout, folder = copy
    for file in weights(folder):
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) * 2 // 3])
        text = refused(case, layout, folder)
        assert file.name in text or str(folder) in text
        file.unlink()
        text = refused(case, layout, folder)
        assert str(folder) in text and ('.safetensors' in text or 'layout' in text)
        file.write_bytes(whole)


def test_another_model(copy):
    case, layout, folder = copy
    key = case.kind_key(layout)
    edit_json(folder / 'config.json', **{key: 'act'})
    text = refused(case, layout, folder)
    assert "'act'" in text and str(folder) in text


def test_a_tensor_too_few_too_many_or_of_another_shape(copy):
    case, layout, folder = copy
    file = weights(folder)[0]
    whole = load_file(file)
    name = next(n for n in reversed(whole) if case.needs(layout, n))
    damages = {
        'missing': {k: v for k, v in whole.items() if k != name},
        'unexpected': {**whole, 'extra.weight': torch.zeros(1)},
        'mismatched': {**whole, name: torch.zeros(*(n + 1 for n in whole[name].shape))},
    }
    for kind, tensors in damages.items():
        save_file(tensors, file, {'format': 'pt'})
        text = refused(case, layout, folder)
        assert kind in text or name in text or 'promises' in text
        assert str(folder) in text
