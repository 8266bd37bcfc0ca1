"""The result of a check as JSON and as lines for the terminal."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trainer.data.samples import printable
from trainer.doctor.findings import TITLES, UNREADABLE, Finding
from trainer.doctor.looks import Looks
from trainer.doctor.pool import Pool
from trainer.errors import shortened
from trainer.results.escaping import for_terminal

# Classes in the table of the terminal; check.json has all.
_MAX_CLASSES = 20
_MIB = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Checked:
    """Everything that a check found.

    Attributes:
      pool: the images.
      looks: facts about the pixels of the readable images.
      findings: by kind, in the order of `TITLES`; suspects worst first.
      labels_checked: whether labels were compared with predictions.
      estimate: see `estimate`.
    """

    pool: Pool
    looks: Looks
    findings: Mapping[str, Sequence[Finding]]
    labels_checked: bool
    estimate: Mapping[str, Any]

    def rows(self) -> set[int]:
        """Returns the samples with at least one finding."""
        found = {f.row for part in self.findings.values() for f in part}
        return found - {-1}

    def total(self) -> int:
        """Returns the number of findings."""
        return sum(len(part) for part in self.findings.values())


def estimate(
    images: int,
    image_px: int,
    channels: int | None,
    images_per_second: float | None,
) -> dict[str, Any]:
    """Returns what a run on the images needs, beside TensorFlow itself.

    Args:
      images: number of readable images in all splits.
      image_px: side of the input images.
      channels: features of an image; None if unknown.
      images_per_second: measured speed of the frozen backbone; None if it was
        not measured.
    """
    found: dict[str, Any] = {
        "image_px": image_px,
        "decoded_cache_mib": round(images * image_px**2 * 3 / _MIB, 1),
        # A batch of 32, as bytes and as float32, is read ahead twice.
        "batches_mib": round(2 * 32 * image_px**2 * 3 * 5 / _MIB, 1),
    }
    if channels is not None and images_per_second is not None:
        found["feature_cache_mib"] = round(images * channels * 4 / _MIB, 1)
        found["features_seconds"] = round(images / images_per_second, 1)
    return found


def to_json(checked: Checked) -> dict[str, Any]:
    """Returns the content of check.json."""
    pool, looks = checked.pool, checked.looks
    counts = pool.counts()
    return {
        "dataset": pool.source.name,
        "location": pool.source.location,
        "fingerprint": pool.fingerprint(),
        "images": len(pool.samples),
        "classes": {
            name: {split: int(part[i]) for split, part in counts.items()}
            for i, name in enumerate(pool.class_names)
        },
        "passed_over": {
            reason: dict(by)
            for reason, by in pool.source.passed_over.counts.items()
        },
        "notes": list(pool.source.notes),
        "width": _spread(looks.widths),
        "height": _spread(looks.heights),
        "brightness": _spread(looks.brightness),
        "labels_checked": checked.labels_checked,
        "estimate": dict(checked.estimate),
        "findings": {
            kind: [_finding_json(pool, f) for f in part]
            for kind, part in checked.findings.items()
            if kind != UNREADABLE
        }
        | {UNREADABLE: [dataclasses.asdict(bad) for bad in pool.bad]},
        "counts": {kind: len(f) for kind, f in checked.findings.items()},
    }


def _spread(values: np.ndarray) -> dict[str, float]:
    """Returns minimum, median and maximum."""
    if not len(values):
        return {}
    return {
        "min": float(values.min()),
        "median": float(np.median(values)),
        "max": float(values.max()),
    }


def _finding_json(pool: Pool, finding: Finding) -> dict[str, Any]:
    found: dict[str, Any] = {
        **described(pool, finding.row),
        "detail": finding.detail,
    }
    if finding.other >= 0:
        found["other"] = described(pool, finding.other)
    return found


def described(pool: Pool, row: int) -> dict[str, str]:
    """Returns id, split, class and printable path of a sample."""
    samples = pool.samples
    return {
        "id": samples.ids[row],
        "split": pool.splits[row],
        "class": pool.class_names[int(samples.labels[row])],
        "path": printable(samples.paths[row]),
    }


def lines(checked: Checked) -> Iterator[str]:
    """Yields the tables for the terminal."""
    yield from _class_lines(checked.pool)
    yield from _fact_lines(checked)
    yield ""
    yield f"{'finding':26}{'images':>8}  example"
    for kind, title in TITLES.items():
        found = checked.findings.get(kind, ())
        yield f"{title:26}{len(found):>8}  {_example(checked, kind)}".rstrip()
    if not checked.labels_checked:
        yield "labels were not compared with predictions; see the warnings"


def _class_lines(pool: Pool) -> Iterator[str]:
    counts = pool.counts()
    yield f"{'class':30}" + "".join(f"{split:>12}" for split in counts)
    order = np.argsort(-sum(counts.values()), kind="stable").tolist()
    shown = order
    if len(order) > _MAX_CLASSES:
        half = _MAX_CLASSES // 2
        shown = order[:half] + order[-half:]
    for place, label in enumerate(shown):
        if len(shown) < len(order) and place == len(shown) // 2:
            yield f"... {len(order) - len(shown):,} more classes"
        name = shortened(for_terminal(pool.class_names[label]), 28)
        yield f"{name:30}" + "".join(
            f"{part[label]:>12,}" for part in counts.values()
        )
    yield f"{'all':30}" + "".join(f"{p.sum():>12,}" for p in counts.values())


def _fact_lines(checked: Checked) -> Iterator[str]:
    looks, pool = checked.looks, checked.pool
    if len(looks.widths):
        wide, high = _spread(looks.widths), _spread(looks.heights)
        yield (
            f"sizes: {wide['min']:.0f} to {wide['max']:.0f} px wide (median"
            f" {wide['median']:.0f}), {high['min']:.0f} to {high['max']:.0f} px"
            f" high (median {high['median']:.0f})"
        )
    yield from map(for_terminal, pool.source.passed_over.lines())
    need = checked.estimate
    text = (
        f"a run at {need['image_px']} px: {need['decoded_cache_mib']:,.1f} MiB"
        " of disk for decoded images"
    )
    if "features_seconds" in need:
        text += (
            f" or {need['feature_cache_mib']:,.1f} MiB for features, which"
            f" took {need['features_seconds']:,.0f} s to compute"
        )
    yield f"{text}; {need['batches_mib']:,.1f} MiB of memory for batches of 32"


def _example(checked: Checked, kind: str) -> str:
    pool = checked.pool
    if kind == UNREADABLE:
        first = pool.bad[0] if pool.bad else None
        text = f"{first.id}: {first.reason}" if first else ""
        return shortened(for_terminal(text), 100)
    found = checked.findings.get(kind, ())
    if not found:
        return ""
    text = f"{pool.samples.ids[found[0].row]}: {found[0].detail}"
    if found[0].other >= 0:
        text += f", {pool.samples.ids[found[0].other]}"
    return shortened(for_terminal(text), 100)


def by_kind(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    """Returns the findings by kind, in the order of `TITLES`."""
    found: dict[str, list[Finding]] = collections.defaultdict(list)
    for finding in findings:
        found[finding.kind].append(finding)
    return {kind: found[kind] for kind in TITLES}
