"""Files of a data set that are not used, counted by reason and suffix."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping

_SUFFIX = re.compile(r"\.[a-z0-9_~+-]{1,11}")
NO_SUFFIX = "without a suffix"
# Reasons for which a file is not used.
NOT_AN_IMAGE, OUTSIDE = "not an image", "outside the class folders"
UNUSED = "in folders that are not used"
# Records of a TFDS data set, counted by split instead of suffix.
UNLABELLED = "without a label"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PassedOver:
    """Files of a data set that are not used; hidden ones are not counted.

    Attributes:
      counts: reason -> suffix in lower case, or `NO_SUFFIX` -> number of files.
        Of `UNLABELLED` it is split -> number of records.
    """

    counts: Mapping[str, Mapping[str, int]] = dataclasses.field(
        default_factory=dict
    )

    def total(self) -> int:
        """Returns the number of files."""
        return sum(sum(by.values()) for by in self.counts.values())

    def lines(self) -> Iterator[str]:
        """Yields a line per reason, such as `33 files skipped: 33 .heic`.

        Suffixes are in descending order of their number.
        """
        for reason, by_suffix in sorted(self.counts.items()):
            total = sum(by_suffix.values())
            if not total:
                continue
            where = "" if reason == NOT_AN_IMAGE else f", {reason}"
            what = "record" if reason == UNLABELLED else "file"
            ending = "" if total == 1 else "s"
            yield (
                f"{total:,} {what}{ending} skipped{where}:"
                f" {suffixes_phrase(by_suffix)}"
            )


def suffixes_phrase(by_suffix: Mapping[str, int], most: int = 6) -> str:
    """Returns `20 .tiff, 13 .heic`; the suffixes after `most` as `5 others`."""
    ranked = sorted(by_suffix.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{count:,} {suffix}" for suffix, count in ranked[:most]]
    rest = sum(count for _, count in ranked[most:])
    return ", ".join((*parts, f"{rest:,} others") if rest else parts)


def suffix_of(name: str) -> str:
    """Returns the suffix of a file name in lower case, or `NO_SUFFIX`."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix if _SUFFIX.fullmatch(suffix) else NO_SUFFIX
