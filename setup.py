"""Builds the ROS 2 package vla_ros, with colcon or with pip."""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

NAME = 'vla_ros'
ASSETS = ('launch', 'config', 'urdf', 'checkpoints')  # installed into share/vla_ros


def data_files() -> list[tuple[str, list[str]]]:
    """Return the files of the share folder, folder by folder."""
    listed = [
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
    ]
    for folder in ASSETS:
        for place in [Path(folder), *sorted(Path(folder).rglob('*'))]:
            files = sorted(str(p) for p in place.glob('*') if p.is_file() and p.suffix != '.pyc')
            if files:
                listed.append((f'share/{NAME}/{place}', files))
    return listed


setup(
    name=NAME,
    version='0.1.0',
    description='Vision-language-action policies on ROS 2 arms, behind a safety filter',
    license='Apache-2.0',
    maintainer='vla_ros maintainers',
    maintainer_email='maintainers@example.com',
    python_requires='>=3.10',
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    package_data={NAME: ['py.typed']},
    data_files=data_files(),
    # requirements/ pins what `make setup` installs; under ROS 2, package.xml and rosdep do it.
    install_requires=['setuptools'],
    extras_require={'test': ['pytest']},  # by this `colcon test` knows what runs them
    zip_safe=False,
    entry_points={
        'console_scripts': [
            'vla = vla_ros.cli.main:main',
            'bag_recorder = vla_ros.nodes.bag_recorder:main',
            'forwarder_node = vla_ros.nodes.forwarder_node:main',
            'markers_node = vla_ros.nodes.markers_node:main',
            'policy_node = vla_ros.nodes.policy_node:main',
            'preflight_node = vla_ros.nodes.preflight_node:main',
            'safety_filter_node = vla_ros.nodes.safety_filter_node:main',
            'sim_node = vla_ros.nodes.sim_node:main',
        ],
    },
)
