"""Names the group of each image, by `--group_by`."""

from __future__ import annotations

import dataclasses
import itertools
import posixpath
from collections.abc import Mapping

from trainer.config.grouping import COLUMN, NONE, REGEX, GroupRule
from trainer.data.samples import Samples
from trainer.errors import TrainerError


def grouped(
    splits: Mapping[str, Samples], rule: GroupRule | None, *, dataset: str
) -> dict[str, Samples]:
    """Returns the splits with the group of each sample.

    Args:
      splits: the splits as the data set has them, by name.
      rule: None keeps the groups that the samples have.
      dataset: the name that the user gave, for errors.

    Raises:
      TrainerError: an id does not match the pattern, or a group is in two
        splits.
    """
    found = {name: _named(part, rule) for name, part in splits.items()}
    for one, two in itertools.combinations(found, 2):
        shared = set(found[one].groups) & set(found[two].groups) - {""}
        if shared:
            more = f" (and {len(shared) - 1} more)" if len(shared) > 1 else ""
            raise TrainerError(
                f"--dataset={dataset!r}: group {min(shared)!r}{more} has images"
                f" in {one} and in {two}; move each group to one split, or give"
                f" --group_by={NONE}"
            )
    return found


def _named(samples: Samples, rule: GroupRule | None) -> Samples:
    if rule is None or rule.mode == COLUMN:
        return samples
    if rule.mode == NONE:
        return dataclasses.replace(samples, groups=())
    names = [_name(rule, sample_id) for sample_id in samples.ids]
    missing = [i for i, n in zip(samples.ids, names, strict=True) if not n]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        fault = (
            f"matches no part of {missing[0]!r}{more}, or an empty one; give a"
            " pattern that every path matches"
            if rule.mode == REGEX
            else f"{missing[0]!r}{more} has no folder; give regex:PATTERN"
        )
        raise TrainerError(f"--group_by={rule.text!r}: {fault}")
    return dataclasses.replace(samples, groups=tuple(names))


def _name(rule: GroupRule, sample_id: str) -> str:
    """Returns the group of a sample; "" if the rule gives none."""
    if rule.pattern is None:
        return posixpath.basename(posixpath.dirname(sample_id))
    match = rule.pattern.search(sample_id)
    if match is None:
        return ""
    parts = [part or "" for part in match.groups() or (match[0],)]
    return "/".join(parts) if any(parts) else ""
