"""URDFs that nobody published: arms of boxes, cylinders and meshes with odd names."""

from __future__ import annotations

from pathlib import Path
import struct

import numpy as np

NAMES = ('Ω-1', 'link 2', 'J', 'a.b', 'tool_', 'x__', 'Elbow', 'q')  # of links and joints alike


def write_stl(path: Path, triangles) -> None:
    """Write a binary STL of triangles (T, 3, 3) [m]."""
    with path.open('wb') as file:
        file.write(bytes(80) + struct.pack('<I', len(triangles)))
        for triangle in triangles:
            file.write(struct.pack('<12fH', 0, 0, 0, *np.ravel(triangle), 0))


def bar(low, high):
    """Return the triangles of a box between two corners."""
    corner = np.array(np.meshgrid(*zip(low, high), indexing='ij')).reshape(3, -1).T
    faces = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    return np.array([corner[[f[0], f[k], f[k + 1]]] for f in faces for k in (1, 2)])


def link(name: str, shape: str = '', mass: float = 0.0, word: str = 'collision') -> str:
    inertial = (
        f'<inertial><mass value="{mass}"/><inertia ixx="{mass / 200}" iyy="{mass / 200}" '
        f'izz="{mass / 200}" ixy="0" ixz="0" iyz="0"/></inertial>'
        if mass
        else ''
    )
    return f'<link name="{name}">{inertial}{f"<{word}>{shape}</{word}>" if shape else ""}</link>'


def joint(name, parent, child, xyz, axis='0 0 1', kind='revolute', limit='', more='') -> str:
    limit = limit or 'lower="-2" upper="2.2" velocity="2" effort="40"'
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="{xyz}"/><axis xyz="{axis}"/><limit {limit}/>{more}</joint>'
    )


def hand(carrier: str, place: str = '0 0 0.1') -> str:
    """Return a palm with two fingers that slide apart, the second as the first."""
    stroke = 'lower="0" upper="0.03" velocity="0.2" effort="15"'
    finger = '<origin xyz="0 {} 0.02"/><geometry><box size="0.02 0.01 0.05"/></geometry>'
    return ''.join(
        (
            link('palm', '<geometry><box size="0.05 0.1 0.02"/></geometry>', 0.3),
            link('one', finger.format('0.005'), 0.05),
            link('two', finger.format('-0.005'), 0.05),
            link('pinch_tcp'),
            joint('wrist mount', carrier, 'palm', place, kind='fixed'),
            joint('slide', 'palm', 'one', '0 0 0.02', '0 1 0', 'prismatic', stroke),
            joint('follow', 'palm', 'two', '0 0 0.02', '0 -1 0', 'prismatic', stroke,
                  '<mimic joint="slide"/>'),
            joint('pinch', 'palm', 'pinch_tcp', '0 0 0.06', kind='fixed'),
        )
    )  # fmt: skip


def crane(folder: Path) -> Path:
    """Write an arm of four joints whose upper arm is an L of a mesh, in a package."""
    package = folder / 'crane_description'
    (package / 'meshes').mkdir(parents=True)
    mesh = np.concatenate(
        (
            bar([-0.03, -0.03, 0.0], [0.03, 0.03, 0.25]),
            bar([-0.03, -0.03, 0.22], [0.03, 0.1, 0.28]),
        )
    )
    write_stl(package / 'meshes' / 'upper.stl', 1000.0 * mesh)
    upper = (
        '<geometry><mesh filename="package://crane_description/meshes/upper.stl" '
        'scale="0.001 0.001 0.001"/></geometry>'
    )
    rod = '<origin xyz="0 0 0.1"/><geometry><cylinder radius="0.03" length="0.2"/></geometry>'
    parts = [
        link('foot', '<origin xyz="0 0 0.05"/><geometry><box size="0.2 0.2 0.1"/></geometry>'),
        link('turn', '<geometry><sphere radius="0.06"/></geometry>', 2.0),
        link('lift', upper, 2.0),
        link('bend', rod, 1.0, 'visual'),
        link('roll', '<geometry><box size="0.04 0.05 0.06"/></geometry>', 0.5),
        joint('turn', 'foot', 'turn', '0 0 0.17', kind='continuous'),
        joint('lift', 'turn', 'lift', '0 0 0.05', '0 1 0', limit='lower="-1.5" upper="1.5" '
              'velocity="1.5" effort="120"'),
        joint('bend', 'lift', 'bend', '0 0.08 0.33', '0 1 0', limit='lower="0.1" upper="2.4" '
              'velocity="2" effort="80"'),
        joint('roll', 'bend', 'roll', '0 0 0.26', limit='lower="-3" upper="3" velocity="3" '
              'effort="0"'),
        hand('roll', '0 0 0.05'),
    ]  # fmt: skip
    file = package / 'crane.urdf'
    file.write_text(f'<robot name="Crane 4">{"".join(parts)}</robot>', encoding='utf-8')
    return file


def odd(joints: int, seed: int, handed: bool = True) -> str:
    """Return an arm of boxes and cylinders whose links and joints share odd names."""
    rng = np.random.default_rng(seed)
    parts = [link('ground', '<geometry><cylinder radius="0.1" length="0.06"/></geometry>')]
    above, height = 'ground', 0.1
    for k in range(joints):
        name = NAMES[k]
        length, thick = rng.uniform(0.12, 0.25), rng.uniform(0.02, 0.04)
        shape = (
            f'<cylinder radius="{thick}" length="{length}"/>'
            if rng.random() < 0.5
            else f'<box size="{2 * thick} {1.5 * thick} {length}"/>'
        )
        axis = '0 0 1' if k == 0 else ('0 1 0', '1 0 0', '0 0.6 0.8')[int(rng.integers(3))]
        centre = f'<origin xyz="0 0 {length / 2}"/><geometry>{shape}</geometry>'
        parts += [
            link(name, centre, float(rng.choice([0.0, 1.0]))),
            joint(name, above, name, f'0 0 {height}', axis),
        ]
        above, height = name, length + 0.05
    end = hand(above, f'0 0 {height}') if handed else ''
    return f'<robot name="odd">{"".join(parts)}{end}</robot>'
