"""Fitted capsules: nothing of a solid is outside, by sampling and by a proof that can fail."""

from __future__ import annotations

from pathlib import Path
import struct

import coal
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.errors import KinematicsError
from vla_ros.kinematics.capsules import fit_capsules, split
from vla_ros.kinematics.enclosure import distance_to_segment, Fit, sticks_out
from vla_ros.kinematics.solids import link_solids, Solid, solid_of

BOX = np.array([0.05, 0.08, 0.3])


def sampled(solid: Solid, rng, count=20_000):
    """Points spread over the surface: triangles by their area, then as far out as their radius."""
    t = solid.triangles
    area = np.linalg.norm(np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]), axis=1) + 1e-12
    pick = rng.choice(len(t), count, p=area / area.sum())
    u, v = np.sort(rng.random((2, count)), axis=0)
    points = (
        u[:, None] * t[pick, 0] + (v - u)[:, None] * t[pick, 1] + (1.0 - v)[:, None] * t[pick, 2]
    )
    way = rng.normal(size=(count, 3))
    return points + way / np.linalg.norm(way, axis=1)[:, None] * solid.radius[pick, None]


def outside(points, fits):
    """How far the worst point is outside of every capsule, by coal."""
    shapes = []
    for fit in fits:
        way = fit.b - fit.a
        shape = coal.Capsule(fit.radius, max(float(np.linalg.norm(way)), 1e-12))
        z = way / max(np.linalg.norm(way), 1e-12) if np.linalg.norm(way) > 1e-9 else [0, 0, 1.0]
        x = np.cross(z, np.eye(3)[np.argmin(np.abs(z))])
        x /= np.linalg.norm(x)
        turn = np.column_stack((x, np.cross(z, x), z))
        shapes.append((shape, coal.Transform3s(turn, 0.5 * (fit.a + fit.b))))
    dot = coal.Sphere(1e-6)
    worst = -np.inf
    for point in points:
        there = coal.Transform3s(np.eye(3), point)
        worst = max(
            worst,
            min(
                coal.distance(s, p, dot, there, coal.DistanceRequest(), coal.DistanceResult())
                for s, p in shapes
            ),
        )
    return worst


@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(['cloud', 'box', 'cylinder', 'sphere', 'L', 'flat']),
    most=st.integers(1, 3),
)
@settings(max_examples=12)
def test_every_point_of_any_solid_is_in_a_capsule(seed, kind, most):
    rng = np.random.default_rng(seed)
    size = rng.uniform(0.01, 0.3, 3)
    if kind == 'cloud':
        solid = Solid(rng.normal(0.0, 0.1, (40, 3, 3)), np.zeros(40))
    elif kind == 'flat':
        solid = Solid(rng.normal(0.0, 0.1, (9, 3, 3)) * [1.0, 1.0, 0.0], np.full(9, 0.01))
    elif kind == 'L':
        one, other = (solid_of(coal.Box(*x)) for x in (size, size[::-1]))
        solid = Solid(
            np.concatenate((one.triangles, other.triangles + size)),
            np.concatenate((one.radius, other.radius)),
        )
    else:
        made = {'box': coal.Box(*size), 'cylinder': coal.Cylinder(*size[:2])}
        solid = solid_of(made.get(kind, coal.Sphere(size[0])))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    solid = solid.moved(turn, rng.normal(size=3))
    fits = fit_capsules(solid, most)
    assert 1 <= len(fits) <= most
    assert sticks_out(solid, fits) <= 0.0
    points = sampled(solid, rng, 400)
    assert outside(points, fits) <= 2e-6
    assert min(outside(points, [f]) for f in fits) > -max(f.radius for f in fits)  # coal looks


def test_shapes_that_are_capsules_keep_their_size():
    for shape, volume in (
        (coal.Sphere(0.05), 4 / 3 * np.pi * 0.05**3),
        (coal.Capsule(0.03, 0.2), np.pi * 0.03**2 * (0.2 + 4 / 3 * 0.03)),
    ):
        (fit,) = fit_capsules(solid_of(shape))
        assert volume <= fit.volume <= 1.02 * volume


def test_one_capsule_of_a_box_is_near_the_best_along_its_length():
    """Along the longest edge, with the ends where the corners need them; by a search of ours."""
    (fit,) = fit_capsules(solid_of(coal.Box(*BOX)), 1)
    across = np.hypot(*BOX[:2]) / 2
    radii = np.linspace(across, 3 * across, 2000)
    half = np.maximum(BOX[2] / 2 - np.sqrt(radii**2 - across**2), 0.0)
    best = (np.pi * radii**2 * (2 * half + 4 / 3 * radii)).min()
    assert fit.volume < 1.01 * best


def test_a_long_flat_box_gets_more_capsules_and_less_volume():
    solid = solid_of(coal.Box(0.02, 0.2, 0.3))
    one, more = fit_capsules(solid, 1), fit_capsules(solid)
    assert len(more) > 1
    assert sum(f.volume for f in more) < 0.85 * one[0].volume


def test_a_cylinder_is_enclosed_as_the_round_solid_that_it_is():
    shape = coal.Cylinder(0.06, 0.25)
    (fit,) = fit_capsules(solid_of(shape), 1)
    angle = np.linspace(0.0, 2 * np.pi, 100_000)
    for z in (-0.125, 0.125):
        rim = np.column_stack((0.06 * np.cos(angle), 0.06 * np.sin(angle), np.full(100_000, z)))
        assert (distance_to_segment(rim, fit.a, fit.b) < fit.radius).all()


def test_a_cut_loses_and_adds_nothing():
    rng = np.random.default_rng(3)
    solid = Solid(rng.normal(size=(50, 3, 3)), rng.random(50))
    normal = np.array([0.6, 0.0, 0.8])
    sides = split(solid, normal, 0.1)

    def area(t):
        return 0.5 * np.linalg.norm(np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]), axis=1)

    assert sum(area(s.triangles).sum() for s in sides) == pytest.approx(
        area(solid.triangles).sum(), rel=1e-9
    )
    assert (sides[0].triangles @ normal <= 0.1 + 1e-9).all()
    assert (sides[1].triangles @ normal >= 0.1 - 1e-9).all()


def test_the_proof_finds_a_hole_between_two_capsules():
    """Both ends of a bar are held, and all corners; its middle is not."""
    bar = solid_of(coal.Box(0.02, 0.02, 0.4))
    ends = [Fit(np.array([0, 0, z * 0.2]), np.array([0, 0, z * 0.15]), 0.03) for z in (-1.0, 1.0)]
    assert all(
        min(distance_to_segment(corner, e.a, e.b) - e.radius for e in ends) < 0.0
        for corner in bar.triangles.reshape(-1, 3)
    )
    # on the axis of an edge, half way: 0.15 m from either end, less the radius, at a right angle
    assert sticks_out(bar, ends) == pytest.approx(
        np.hypot(0.15, np.hypot(0.01, 0.01)) - 0.03, abs=2e-6
    )
    assert sticks_out(bar, []) == np.inf
    whole = Fit(np.array([0, 0, -0.2]), np.array([0, 0, 0.2]), 0.03)
    assert sticks_out(bar, [whole]) < 0.0


def write_stl(path: Path, triangles) -> None:
    with path.open('wb') as file:
        file.write(bytes(80) + struct.pack('<I', len(triangles)))
        for triangle in triangles:
            file.write(struct.pack('<12fH', 0, 0, 0, *np.ravel(triangle), 0))


def test_links_of_a_urdf_come_in_their_own_frames(tmp_path):
    mesh = solid_of(coal.Box(*BOX)).triangles
    write_stl(tmp_path / 'bar.stl', mesh * 1000.0)
    scaled = f'<mesh filename="file://{tmp_path}/bar.stl" scale="0.001 0.001 0.001"/>'
    urdf = tmp_path / 'two.urdf'
    urdf.write_text(f"""<robot name="two">
      <link name="foot"><visual><geometry><sphere radius="0.1"/></geometry></visual></link>
      <link name="bar">
        <visual><geometry><sphere radius="9"/></geometry></visual>
        <collision><origin xyz="1 2 3"/><geometry>{scaled}</geometry></collision>
      </link>
      <joint name="bolt" type="fixed"><parent link="foot"/><child link="bar"/>
        <origin xyz="5 5 5" rpy="1 2 3"/></joint>
    </robot>""")
    solids = link_solids(urdf)
    assert set(solids) == {'foot', 'bar'}
    np.testing.assert_allclose(solids['foot'].radius, [0.1])
    corners = solids['bar'].triangles.reshape(-1, 3)
    np.testing.assert_allclose(corners.min(axis=0), [1, 2, 3] - BOX / 2, atol=1e-6)
    np.testing.assert_allclose(corners.max(axis=0), [1, 2, 3] + BOX / 2, atol=1e-6)
    (tmp_path / 'bar.stl').unlink()
    with pytest.raises(KinematicsError, match=r'bar\.stl'):
        link_solids(urdf)
