"""Tokenizers of checkpoints: where their tokenizer.json lies, and how it is read."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from tokenizers import Tokenizer

from vla_ros.errors import CheckpointError


def find_tokenizer(folder: Path, given: Path | None, source: str) -> Path:
    """Return the tokenizer.json of the given folder, or within the checkpoint.

    Args:
        folder: The checkpoint; LeRobot keeps the tokenizer, if at all, in its `tokenizer/`.
        given: What the policy file names.
        source: Where the file can be had, for the message.

    Raises:
        CheckpointError: It is in none of them.
    """
    places = [given] if given is not None else [folder / 'tokenizer', folder]
    for place in places:
        if (place / 'tokenizer.json').is_file():
            return place / 'tokenizer.json'
    raise CheckpointError(
        f'no tokenizer.json in {" or ".join(map(str, places))}: copy that of {source} into the '
        "checkpoint, or name its folder by 'options: {tokenizer: FOLDER}' in the policy file."
    )


def read_tokenizer(file: Path, words: Collection[str] = ()) -> Tokenizer:
    """Return a tokenizer that neither cuts nor pads, whatever its file says.

    Args:
        file: Its tokenizer.json.
        words: What it must know.

    Raises:
        CheckpointError: The file is missing, damaged or of another model.
    """
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the Rust library raises nothing narrower
        raise CheckpointError(f'cannot read {file}: {error}. Copy it again.') from error
    for word in words:
        if tokenizer.token_to_id(word) is None:
            raise CheckpointError(f'{file} has no {word}; it is the tokenizer of another model.')
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
