"""Which picture of a policy file goes where in a network."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from vla_ros.errors import CheckpointError, ConfigError, UnknownNameError
from vla_ros.policies.loading import require_equal
from vla_ros.spec import ImageSpec, PolicySpec


def arranged(
    spec: PolicySpec,
    folder: Path,
    slots: Sequence[str] | None,
    *,
    optional: Collection[str] = (),
    size: int,
) -> tuple[ImageSpec, ...]:
    """Return the pictures of a policy file in the order of the network's slots.

    A slot without a picture is left out, which gives what a masked one gives: no other token sees
    it, and positions count the tokens that are there.

    Args:
        spec: The policy file.
        folder: The checkpoint, for messages.
        slots: Names in the order of the network; None where it names none and takes any number.
        optional: Slots that a policy file without slots may leave out.
        size: Side of the network's pictures [px].

    Raises:
        CheckpointError: There are too few pictures, too many, or of another size.
        ConfigError: There are slots although the network names none.
        UnknownNameError: A slot is not among those of the network.
    """
    named = [image.slot for image in spec.images if image.slot is not None]
    images = spec.images
    if slots is None and named:
        raise ConfigError(
            f'policy {spec.name}: the checkpoint {folder} names no slots; leave them out.'
        )
    if slots is not None:
        for slot in named:
            if slot not in slots:
                raise UnknownNameError('slot', slot, slots, f'policy {spec.name}')
        least = 1 if named else len([slot for slot in slots if slot not in optional])
        if not least <= len(images) <= len(slots):
            raise CheckpointError(
                f'policy {spec.name} has {len(images)} images, but the checkpoint {folder} was '
                f'trained with {", ".join(slots)}; give each, or give those that there are by '
                "'slot:'."
            )
        if named:
            images = tuple(sorted(images, key=lambda image: slots.index(image.slot or '')))
    if not images:
        raise CheckpointError(f'policy {spec.name} has no image; {folder} wants at least one.')
    require_equal(spec, folder, [('image sizes', {i.size for i in spec.images}, {size})])
    return images
