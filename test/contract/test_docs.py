"""The documents say what is there."""

from __future__ import annotations

from pathlib import Path
import re

import click
import pytest

from vla_ros import graph, paths
from vla_ros.action_space import ACTION_KINDS, STATE_KINDS
from vla_ros.cli.main import vla
from vla_ros.robot import GRIPPERS, KINDS, load_robot
from vla_ros.rotation import EULER, WIDTHS
from vla_ros.safety.config import load_safety

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'), *ROOT.glob('checkpoints/*/*.md')])


@pytest.mark.parametrize('page', PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)#]+)\)', page.read_text(encoding='utf-8')):
        if '://' not in target:
            assert (page.parent / target).exists(), f'{page.name} links to {target}'


def test_actions_page_lists_every_kind_rotation_and_double():
    text = (ROOT / 'docs/actions.md').read_text(encoding='utf-8')
    for kind, meaning in ACTION_KINDS.items():
        units, references = ', '.join(meaning.units), ', '.join(meaning.references)
        assert f'| `{kind}` | {units} | {references} |' in text
    for word in (*STATE_KINDS, *WIDTHS):
        assert f'`{word}`' in text or word in EULER
    assert f'{len(EULER)} orders' in text
    for double in ('hold', 'noise', 'replay', 'scripted'):
        assert f'| `{double}` |' in text


def test_nodes_page_lists_the_whole_graph():
    text = (ROOT / 'docs/nodes.md').read_text(encoding='utf-8')
    for process in graph.processes(load_robot(paths.find('robots', 'panda')), True):
        assert f'| {process.node} | `{process.executable}`, nice {process.nice} |' in text
        for topic in (*process.subscribes, *process.publishes):
            reliability = 'reliable' if topic.qos.reliable else 'best effort'
            assert f'| `{topic.name}` | {topic.type} | {reliability}' in text
        for name, _ in (*process.services, *process.actions):
            assert f'`{name}`' in text


def test_drivers_page_lists_every_kind_of_controller():
    text = (ROOT / 'docs/drivers.md').read_text(encoding='utf-8')
    for name, kind in KINDS.items():
        through = 'yes' if kind.forwarded else 'no'
        assert f'| `{name}` | {kind.type} | {through} |' in text
    for name, hand in GRIPPERS.items():
        assert f'| `{name}` | {hand.type if hand else "that of the arm"} |' in text


def test_troubleshooting_has_every_fault_and_every_finding():
    text = (ROOT / 'docs/troubleshooting.md').read_text(encoding='utf-8')
    faults = set(load_safety(paths.find('safety', 'default')).faults)
    named = set(re.findall(r'`([^`\n]+)`', text))
    assert not faults - named
    files = (ROOT / 'vla_ros/preflight').glob('*.py')
    made = r"(?:gather|bad|warn|unseen|ok|_silent)\((?:facts, )?'([a-z ]+)'"
    findings = {name for file in files for name in re.findall(made, file.read_text())}
    assert {'nodes', 'clock skew', 'policy', 'dds profile', 'egl'} <= findings, 'it can be read'
    assert not findings - named


@pytest.mark.parametrize('page', PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_of_the_pages_exist(page):
    """Every `vla VERB --option` and every launch argument in a block of commands is real."""
    blocks = re.findall(r'^```\n(.*?)^```', page.read_text(encoding='utf-8'), re.M | re.S)
    for line in '\n'.join(blocks).splitlines():
        command, *arguments = line.split('#')[0].split() or ['']
        if command.split('/')[-1] == 'vla':
            known = verb_of(arguments)
            for option in (a.split('=')[0] for a in arguments if a.startswith('--')):
                assert option in known, f'{page.name}: {line}'
        if line.startswith('ros2 launch vla_ros'):
            given = {a.split(':=')[0] for a in arguments if ':=' in a}
            assert given <= {*graph.ARGUMENTS, 'namespace', 'driver'}, f'{page.name}: {line}'


def verb_of(arguments: list[str]) -> set[str]:
    """Return the options of the verb that a command line names."""
    command, context = vla, click.Context(vla)
    for word in arguments:
        if not isinstance(command, click.Group) or word.startswith('-'):
            break
        command = command.get_command(context, word)
        assert command is not None, f'vla {" ".join(arguments)}'
    options = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    return {*options, '--help'}
