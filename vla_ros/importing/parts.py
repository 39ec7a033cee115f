"""Which joints of a description are the arm, which link is the tool, and what the gripper is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import re

from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.importing.description import Description, Joint, TURNING

FINGERS = re.compile(r'grip|finger|jaw|knuckle|claw|thumb', re.IGNORECASE)
TOOLS = (('tcp',), ('grasp',), ('tool',), ('eef', 'ee', 'effector'), ('hand',), ('gripper',))


@dataclass(frozen=True)
class Parts:
    """What the joints and links of an arm are for."""

    arm: tuple[Joint, ...]  # from the base outwards
    hand: str  # link that the last of them moves
    tool: str  # link of the tool centre
    gripper: Joint | None
    fingers: tuple[Joint, ...]  # everything that moves below the hand, the gripper too

    @property
    def carrier(self) -> str:
        """Link that carries the fingers; the hand, where there are none."""
        return self.fingers[0].parent if self.fingers else self.hand


def find_parts(
    description: Description,
    *,
    joints: Sequence[str] = (),
    tool: str | None = None,
    gripper: str | None = None,
) -> Parts:
    """Find arm, tool and gripper; what is given is taken.

    The arm is the longest chain of turning joints that move no finger. The tool is the link
    beyond it whose name says so, else the one that carries the gripper, else the last one.

    Raises:
        ConfigError: There is no arm, or there are several; the message names the option.
        UnknownNameError: There is no such joint or link.
    """
    if joints:
        arm = [description.joint(name) for name in joints]
        way = [joint.name for joint in description.to(arm[-1].child)]
        if [name for name in way if name in joints] != list(joints):
            raise ConfigError(f'--joints {",".join(joints)} are not in the order of one chain.')
    else:
        arm = _longest_chain(description, tool, gripper)
    for joint in arm:
        if joint.kind not in TURNING:
            raise ConfigError(f"joint '{joint.name}' is {joint.kind}; an arm's joints must turn.")
    hand = arm[-1].child
    rigid = description.rigid(hand)
    fingers = [joint for joint in description.below(hand) if joint.moves]
    chosen = _gripper(description, fingers, gripper)
    if tool is not None and tool not in rigid:
        raise UnknownNameError('tool link', tool, rigid, f"links fixed to '{hand}'")
    return Parts(tuple(arm), hand, tool or _tool(rigid, chosen), chosen, tuple(fingers))


def _longest_chain(description: Description, tool: str | None, gripper: str | None) -> list[Joint]:
    """Return the longest chain of turning joints; towards the tool, if one is given."""
    ends = [joint.child for joint in description.joints.values()] if tool is None else [tool]
    chains: dict[tuple[str, ...], list[Joint]] = {}
    for end in ends:
        chain = []
        for joint in description.to(end):
            if joint.moves and (_is_finger(description, joint) or joint.name == gripper):
                break
            if joint.kind in TURNING:
                chain.append(joint)
        chains[tuple(joint.name for joint in chain)] = chain
    most = max((len(chain) for chain in chains.values()), default=0)
    longest = [chain for chain in chains.values() if len(chain) == most]
    if most == 0:
        raise ConfigError(
            f'{description.where} has no turning joint that moves no finger: name the arm with '
            '--joints.'
        )
    if len(longest) > 1:
        tips = ', '.join(chain[-1].child for chain in longest)
        raise ConfigError(
            f'{description.where} has {len(longest)} chains of {most} joints, which end at '
            f'{tips}: say which is the arm with --tool or --joints.'
        )
    return longest[0]


def _is_finger(description: Description, joint: Joint) -> bool:
    """Whether a joint moves a finger, by its name; by its link's only if nothing moves beyond."""
    if joint.leader or FINGERS.search(joint.name):
        return True
    last = not any(other.moves for other in description.below(joint.child))
    return last and bool(FINGERS.search(joint.child))


def _gripper(
    description: Description, fingers: Sequence[Joint], gripper: str | None
) -> Joint | None:
    """Return the joint that is commanded: it leads others, or else comes first."""
    if gripper is not None:
        if gripper not in [joint.name for joint in fingers]:
            raise UnknownNameError('gripper joint', gripper, (j.name for j in fingers))
        return description.joint(gripper)
    leaders = {joint.leader for joint in fingers}
    own = [joint for joint in fingers if not joint.leader]
    return next((j for j in own if j.name in leaders), own[0] if own else None)


def _tool(rigid: Sequence[str], gripper: Joint | None) -> str:
    for words in TOOLS:
        named = [link for link in rigid if set(words) & set(re.findall(r'[a-z]+', link.lower()))]
        if named:
            return named[-1]
    return gripper.parent if gripper is not None and gripper.parent in rigid else rigid[-1]
