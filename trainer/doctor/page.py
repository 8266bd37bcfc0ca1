"""check.html: the findings with thumbnails, in one file."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from trainer.data.check import read_encoded_image
from trainer.data.decode import decode_image
from trainer.doctor.findings import TITLES, UNREADABLE, Finding
from trainer.doctor.looks import small_image
from trainer.doctor.report import Checked
from trainer.native_logs import native_notes_hidden
from trainer.results.escaping import for_html

# A thumbnail has at most about 5 kB, as text 7 kB; all of them stay below
# 4.5 MB.
_THUMB_PX, _QUALITY = 80, 75
_PER_KIND, _MAX_THUMBS = 60, 600
_STYLE = (
    "body{font:14px sans-serif;margin:2em;max-width:75em}"
    "figure{display:inline-block;vertical-align:top;margin:4px;width:180px;"
    "font-size:11px;overflow-wrap:anywhere}"
    "img{width:80px;height:80px;margin-right:4px}"
    "td,th{text-align:right;padding:2px 12px}td:first-child{text-align:left}"
)


def page(checked: Checked) -> str:
    """Returns the HTML; it needs no other file and no network."""
    name = for_html(checked.pool.source.name)
    thumbs = _Thumbnails(checked)
    with native_notes_hidden():
        sections = [
            part for kind in TITLES for part in _section(checked, kind, thumbs)
        ]
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f"<title>{name}: data check</title><style>{_STYLE}</style></head>",
            f"<body><h1>{name}: {checked.total():,} findings</h1>",
            *_class_table(checked),
            *sections,
            "</body></html>\n",
        )
    )


def _class_table(checked: Checked) -> Iterator[str]:
    counts = checked.pool.counts()
    heads = "".join(f"<th>{split}</th>" for split in counts)
    yield f"<table><tr><th>class</th>{heads}</tr>"
    for label, name in enumerate(checked.pool.class_names):
        cells = "".join(f"<td>{p[label]:,}</td>" for p in counts.values())
        yield f"<tr><td>{for_html(name)}</td>{cells}</tr>"
    yield "</table>"


def _section(checked: Checked, kind: str, thumbs: _Thumbnails) -> Iterator[str]:
    found = checked.findings[kind]
    if not found:
        return
    yield f"<h2>{for_html(TITLES[kind])}: {len(found):,}</h2>"
    if kind == UNREADABLE:
        for bad in checked.pool.bad[:_PER_KIND]:
            yield f"<p>{for_html(str(bad))}</p>"
    else:
        for finding in found[:_PER_KIND]:
            yield _figure(checked, finding, thumbs)
    if len(found) > _PER_KIND:
        yield f"<p>{len(found) - _PER_KIND:,} more are in check.json.</p>"


def _figure(checked: Checked, finding: Finding, thumbs: _Thumbnails) -> str:
    pool = checked.pool
    rows = [finding.row]
    if finding.other >= 0:
        rows.append(finding.other)
    images = "".join(thumbs.tag(row) for row in rows)
    names = "<br>".join(for_html(pool.samples.ids[row]) for row in rows)
    return (
        f"<figure>{images}<figcaption>{names}<br>"
        f"<b>{for_html(finding.detail)}</b></figcaption></figure>"
    )


class _Thumbnails:
    """Makes image tags, each image once and not too many of them."""

    def __init__(self, checked: Checked) -> None:
        self._samples = checked.pool.samples
        self._tags: dict[int, str] = {}

    def tag(self, row: int) -> str:
        """Returns the tag of an image; "" if it cannot be shown."""
        if row not in self._tags:
            if len(self._tags) >= _MAX_THUMBS:
                return ""
            self._tags[row] = self._make(row)
        return self._tags[row]

    def _make(self, row: int) -> str:
        try:
            encoded = read_encoded_image(self._samples, row)
            pixels = decode_image(tf.constant(encoded or b"")).numpy()
        except (OSError, tf.errors.OpError):
            return ""
        small = np.rint(small_image(pixels, _THUMB_PX)).clip(0, 255)
        jpeg = tf.io.encode_jpeg(
            small.astype(np.uint8), quality=_QUALITY
        ).numpy()
        text = base64.b64encode(jpeg).decode()
        return f'<img alt="" src="data:image/jpeg;base64,{text}">'
