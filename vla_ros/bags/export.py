"""Bags to a LeRobot data set: look at every bag, then write rows and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from vla_ros.bags import lerobot_format as fmt
from vla_ros.bags.alignment import align, Aligned, Settings
from vla_ros.bags.lerobot_source import BagSource
from vla_ros.bags.lerobot_writer import DataSetWriter, Totals
from vla_ros.bags.reader import Bag, open_bag
from vla_ros.errors import BagError
from vla_ros.robot import RobotSpec

Report = Callable[[str, float], None]  # stage, share of it that is done


@dataclass(frozen=True)
class Exported:
    """What an export has added, and what the data set holds now."""

    episodes: int
    frames: int
    totals: Totals
    interventions: int  # rows among those added
    cameras: tuple[str, ...]
    features: Mapping[str, fmt.Feature]
    notes: tuple[str, ...]  # a sentence each: what was left out or mended


def export(
    paths: Sequence[Path],
    folder: Path,
    robot: RobotSpec,
    settings: Settings,
    task: str,
    report: Report,
) -> Exported:
    """Write the episodes of bags into a data set, new or existing; all of them or nothing.

    Args:
        paths: Bags of this robot.
        folder: The data set.
        robot: Names joints, cameras and topics.
        settings: Rate and bounds.
        task: Sentence of a bag that has none; may be empty where every bag has one.
        report: Called as things advance.

    Raises:
        BagError: A bag or the data set cannot be used, or no episode is found.
        ShapeError: A camera changes its size, or has an odd one.
    """
    with ExitStack() as stack:
        read: list[tuple[Bag, BagSource, Aligned]] = []
        for path in paths:
            bag = stack.enter_context(open_bag(path))
            source = BagSource(bag, robot, _share(bag, 'reading', report))
            if source.tracks.tasks is None and not task:
                raise BagError(
                    f'{path} says no instruction: give the sentence of its task with --task.'
                )
            read.append((bag, source, align(source.tracks, settings, task)))
        notes = [note for each in read for note in _notes(*each, settings)]
        episodes = [episode for *_, aligned in read for episode in aligned.episodes]
        if not episodes:
            raise BagError(
                f'no episode of {settings.shortest:g} s was found in '
                f'{", ".join(map(str, paths))}: {" ".join(notes) or "they are too short."}'
            )
        shapes = read[0][1].shapes
        for bag, source, _ in read:
            if source.shapes != shapes:
                raise BagError(
                    f'{bag.path} has cameras {_sizes(source)}, expected {_sizes(read[0][1])} '
                    f'as in {read[0][0].path}: export them into data sets of their own.'
                )
        features = fmt.features(robot, shapes, settings.rate)
        try:
            with DataSetWriter(folder, robot.name, features, settings.rate, episodes) as writer:
                for bag, source, aligned in read:
                    told = _share(bag, 'writing', report)
                    for camera, image in source.pictures(aligned.episodes, told):
                        writer.picture(camera, image)
                totals = writer.finish()
        except OSError as error:
            raise BagError(
                f'{folder} could not be written and is as it was: {error}. Is the disk full?'
            ) from error
    return Exported(
        len(episodes),
        sum(len(episode) for episode in episodes),
        totals,
        sum(int(episode.intervention.sum()) for episode in episodes),
        tuple(shapes),
        features,
        tuple(notes),
    )


def _share(bag: Bag, stage: str, report: Report) -> Callable[[float], None]:
    start, length = bag.start, max(bag.end - bag.start, 1e-9)
    return lambda time: report(f'{stage} {bag.path.name}', (time - start) / length)


def _sizes(source: BagSource) -> str:
    sizes = (f'{name} {w}x{h}' for name, (h, w) in sorted(source.shapes.items()))
    return ', '.join(sizes) or 'none'


def _notes(bag: Bag, source: BagSource, aligned: Aligned, settings: Settings) -> list[str]:
    found = [*bag.notes, *source.notes]
    if not any(c.sent for c in source.tracks.commands if not c.held):
        found.append('it has no command topic: the action is where the joints are a row later.')
    for name, count in aligned.stale.items():
        if count:
            found.append(
                f"{count} rows were dropped: '{name}' had nothing of the last "
                f'{settings.max_age:g} s.'
            )
    for name, count in aligned.backward.items():
        found.append(f"{count} messages of '{name}' were passed over: their stamps go back.")
    if aligned.short:
        found.append(f'{aligned.short} pieces shorter than {settings.shortest:g} s were dropped.')
    return [f'{bag.path.name}: {note}' for note in found]
