"""What of a description is arm, tool and gripper, and what is refused."""

from __future__ import annotations

from itertools import pairwise

from arms import crane, hand, joint, link
import numpy as np
import pytest

from vla_ros.errors import ConfigError, MissingPackageError, UnknownNameError
from vla_ros.importing.description import Description, mesh_file
from vla_ros.importing.fingers import ends
from vla_ros.importing.parts import find_parts
from vla_ros.importing.source import read_source
from vla_ros.importing.srdf import read_srdf
from vla_ros.kinematics import read_model
from vla_ros.kinematics.solids import link_solids

BALL = '<geometry><sphere radius="0.02"/></geometry>'


def tree(*parts: str, base: str | None = None) -> Description:
    return Description(f'<robot name="r">{"".join(parts)}</robot>', 'r.urdf', base)


def chain(prefix: str, root: str, count: int) -> list[str]:
    """Links and joints of an arm that hangs on a link."""
    names = [root, *(f'{prefix}{k}' for k in range(1, count + 1))]
    return [
        part
        for above, name in pairwise(names)
        for part in (link(name, BALL), joint(f'j_{name}', above, name, '0 0 0.1', '0 1 0'))
    ]


def test_the_longest_chain_is_the_arm_and_what_lies_above_it_is_fixed():
    wheels = (link('wheel', BALL), joint('wheel_joint', 'base', 'wheel', '1 0 0'))
    robot = tree(link('base'), *wheels, *chain('a', 'base', 4), hand('a4'))
    parts = find_parts(robot)
    assert [j.name for j in parts.arm] == ['j_a1', 'j_a2', 'j_a3', 'j_a4']
    assert parts.gripper is not None and parts.gripper.name == 'slide'  # leads 'follow'
    assert {j.name for j in parts.fingers} == {'slide', 'follow'} and parts.carrier == 'palm'
    text = robot.reduced('r', ['j_a1', 'j_a2', 'j_a3', 'j_a4', 'slide', 'follow'], [])
    model_joints = [j for j in Description(text, 'again').joints.values() if j.moves]
    assert 'wheel_joint' not in {j.name for j in model_joints} and len(model_joints) == 6


def test_options_overrule_what_is_found():
    robot = tree(link('base'), *chain('a', 'base', 4))
    assert find_parts(robot, gripper='j_a4').hand == 'a3'
    assert find_parts(robot, joints=('j_a1', 'j_a3')).arm[1].name == 'j_a3'
    assert [j.name for j in find_parts(robot, tool='a2').arm] == ['j_a1', 'j_a2']
    below = tree(link('base'), *chain('a', 'base', 4), base='a1')
    assert [j.name for j in find_parts(below).arm] == ['j_a2', 'j_a3', 'j_a4']
    assert 'a1' in below.reduced('r', [], []) and '"base"' not in below.reduced('r', [], [])


@pytest.mark.parametrize(
    'words, error',
    [
        ({'tool': 'a5'}, "unknown link 'a5'.*Did you mean 'a"),
        ({'gripper': 'j_a9'}, "unknown gripper joint 'j_a9'"),
        ({'joints': ('j_a3', 'j_a1')}, 'not in the order of one chain'),
        ({'joints': ('j_a7',)}, "unknown joint 'j_a7'.*Did you mean"),
    ],
)
def test_names_that_are_wrong_are_told(words, error):
    with pytest.raises(ConfigError, match=error):
        find_parts(tree(link('base'), *chain('a', 'base', 4)), **words)


def test_two_arms_ask_which_is_meant():
    robot = tree(link('base'), *chain('left', 'base', 3), *chain('right', 'base', 3))
    with pytest.raises(ConfigError, match='2 chains of 3 joints.*left3, right3.*--tool'):
        find_parts(robot)
    assert find_parts(robot, tool='right3').hand == 'right3'


def test_a_jaw_is_known_by_its_name_but_a_wrist_that_carries_one_is_not():
    robot = tree(
        link('base'),
        *chain('a', 'base', 3),
        link('gripper', BALL),
        joint('roll', 'a3', 'gripper', '0 0 0.1'),
        link('jaw', BALL),
        joint('last', 'gripper', 'jaw', '0 0.03 0'),
    )
    parts = find_parts(robot)
    assert [j.name for j in parts.arm][-1] == 'roll'
    assert parts.gripper is not None and parts.gripper.name == 'last'
    assert parts.tool == 'gripper'


@pytest.mark.parametrize('sense', [1, -1])
def test_open_is_where_the_tips_have_room(tmp_path, sense):
    file = crane(tmp_path)
    text = file.read_text(encoding='utf-8')
    if sense < 0:  # both slide towards each other, from 30 mm on either side
        text = text.replace('xyz="0 1 0"/><limit lower="0" upper="0.03"', 'SWAP')
        text = text.replace('xyz="0 -1 0"/><limit lower="0"', 'xyz="0 1 0"/><limit lower="0"')
        text = text.replace('SWAP', 'xyz="0 -1 0"/><limit lower="0" upper="0.03"')
        text = text.replace('0 0.005 0.02', '0 0.035 0.02').replace(
            '0 -0.005 0.02', '0 -0.035 0.02'
        )
    description = Description(text, 'crane.urdf')
    parts = find_parts(description)
    free = [j.name for j in (*parts.arm, *parts.fingers)]
    urdf = tmp_path / 'copy.urdf'
    urdf.write_text(description.reduced('crane', free, [file.parent]), encoding='utf-8')
    assert ends(read_model(urdf), parts, link_solids(urdf)) == ((0.0, 0.03)[::sense])


def test_what_is_no_urdf_is_told():
    for text, error in (
        ('<robot', 'is not XML'),
        ('<sdf/>', 'expected the <robot> of a URDF'),
        ('<robot><link name="a"/><link name="b"/></robot>', "roots .'a', 'b'., expected one tree"),
        (f'<robot>{link("a")}{joint("j", "a", "c", "0 0 0")}</robot>', "unknown link 'c'"),
        (f'<robot>{link("a")}<joint name="j" type="fixed"/></robot>', "joint 'j' lacks"),
    ):
        with pytest.raises(ConfigError, match=error):
            Description(text, 'x.urdf')
    with pytest.raises(UnknownNameError, match="unknown link 'b'"):
        Description(f'<robot>{link("a")}</robot>', 'x.urdf', 'b')


def test_a_mesh_that_is_missing_names_the_option(tmp_path):
    (tmp_path / 'part.stl').touch()
    for address in (
        'part.stl',
        f'package://{tmp_path.name}/part.stl',
        f'file://{tmp_path}/part.stl',
    ):
        assert mesh_file(address, [tmp_path]) == (tmp_path / 'part.stl').resolve()
    with pytest.raises(ConfigError, match=r'package://gone/part\.stl.*--package-dir'):
        mesh_file('package://gone/part.stl', [tmp_path])


def test_xacro_is_named_where_it_is_missing(tmp_path, monkeypatch):
    file = tmp_path / 'arm.urdf.xacro'
    file.write_text('<robot name="r"/>')
    monkeypatch.setattr('vla_ros.importing.source.find_spec', lambda name: None)
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(MissingPackageError, match="package 'xacro' is needed for arm.urdf.xacro"):
        read_source(file)
    program = tmp_path / 'xacro'
    program.write_text(
        '#!/bin/sh\n[ "$2" = "n:=1" ] && echo "<robot/>" && exit\necho bad >&2; exit 2\n'
    )
    program.chmod(0o755)
    assert read_source(file, ['n:=1']) == '<robot/>\n'
    with pytest.raises(ConfigError, match='xacro cannot process arm.urdf.xacro: bad'):
        read_source(file)
    with pytest.raises(ConfigError, match='is not there'):
        read_source(tmp_path / 'none.urdf')


def test_an_srdf_gives_pairs_and_a_home(tmp_path):
    file = tmp_path / 'r.srdf'
    file.write_text("""<robot name="r">
      <disable_collisions link1="a" link2="b" reason="Never"/>
      <group_state name="ready" group="g"><joint name="p" value="1"/><joint name="q" value="2"/>
      </group_state>
      <group_state name="home" group="g"><joint name="q" value="4"/><joint name="p" value="3"/>
      </group_state>
      <group_state name="open" group="h"><joint name="f" value="5"/></group_state></robot>""")
    srdf = read_srdf(file)
    assert srdf.disabled == {frozenset(('a', 'b'))}
    np.testing.assert_array_equal(srdf.poses(('p', 'q')), [[3.0, 4.0], [1.0, 2.0]])
    file.write_text('<robot><group_state name="home"><joint name="p"/></group_state></robot>')
    with pytest.raises(ConfigError, match='cannot read the SRDF'):
        read_srdf(file)
