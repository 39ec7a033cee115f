"""Every adapter in every layout: nothing missing or left over, and answers like its oracle's."""

from __future__ import annotations

from case import Deviation, shown, unmatched
from cases import CASES
import numpy as np
import pytest
import torch
from torch import nn

ALL = [(name, layout) for name, case in CASES.items() for layout in case.layouts]


@pytest.mark.parametrize(('name', 'layout'), ALL, ids=['-'.join(one) for one in ALL])
def test_an_adapter_is_like_its_oracle(tmp_path, name, layout):
    case = CASES[name]
    case.write(tmp_path / 'folder', layout)
    found = case.examine(tmp_path / 'folder', layout)
    assert found.missing == found.unexpected == ()
    assert {k: one for k, one in found.deviations.items() if not one.within} == {}
    assert set(found.deviations) == {'images', 'tokens', 'statistics', 'actions'}
    assert found.parameters > 1e5


def test_the_number_of_parameters_is_the_published_one():
    assert CASES['openvla'].published() == 7_541_237_184
    assert CASES['smolvla'].published() == 450_046_176


def test_what_is_compared_is_what_differs():
    """The comparison of every adapter rests on this."""
    tensors = [torch.randn(3, 2, generator=torch.Generator().manual_seed(k)) for k in range(4)]
    files = dict(zip('abc', tensors))
    network = {'x': tensors[0], 'y': tensors[1], 'z': tensors[3]}
    assert unmatched([network], files, '(?!)') == (('z',), ('c',), 0)
    assert unmatched([network], files, '^c$') == (('z',), (), 1)
    changed = {**network, 'x': tensors[0] + 1e-3}
    assert unmatched([changed], files, '^c$') == (('x', 'z'), ('a',), 1)
    assert Deviation(0.1, 0.1).within and not Deviation(float('nan'), 0.1).within


def test_what_reaches_a_network_is_seen():
    class Policy:
        net = None

    policy = Policy()
    policy.net = nn.ModuleDict(
        {'see': nn.Conv2d(3, 2, 2), 'at': nn.Embedding(4, 2), 'word': nn.Embedding(9, 2)}
    )
    picture = torch.rand(1, 3, 4, 4)
    with shown(policy) as seen:
        policy.net['see'](picture)
        policy.net['at'](torch.tensor([3]))
        policy.net['word'](torch.tensor([[7, 8]]))
        policy.net['word'](torch.tensor([1]))
    policy.net['see'](picture)
    assert seen.words == [7, 8] and len(seen.pictures) == 1
    np.testing.assert_allclose(seen.pictures[0], picture.numpy())
