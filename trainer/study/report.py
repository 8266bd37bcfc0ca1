"""Writes report.html: the study on one self-contained page."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trainer.errors import reason_of
from trainer.results.escaping import for_html
from trainer.storage import files
from trainer.study.charts import (
    class_bars,
    confusion_matrix,
    learning_curves,
    numbers_of_classes,
)
from trainer.study.mistakes import Mistake
from trainer.study.table import caption, table_columns

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; margin: 0;
  background: #fff; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.2rem;
  margin-top: 2.5rem; }
p { max-width: 42rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .4rem .7rem; border-bottom: 1px solid #ddd;
  text-align: right; white-space: nowrap; }
th:nth-child(2), td:nth-child(2) { text-align: left; white-space: normal;
  min-width: 11rem; }
th { vertical-align: bottom; background: #f6f6f6; white-space: normal; }
svg { display: block; width: 100%; max-width: 40rem; height: auto; }
.narrow svg { max-width: 32rem; }
.mistakes { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); }
figure { margin: 0; font-size: .85rem; line-height: 1.3; }
figure img { width: 100%; aspect-ratio: 1; object-fit: cover;
  border-radius: 4px; background: #eee; }
figcaption { overflow-wrap: anywhere; }
.note { color: #555; font-size: .9rem; }
"""


def write_html(
    path: str,
    record: Mapping[str, Any],
    curves: Mapping[int, Sequence[Mapping[str, Any]]],
    mistakes: Sequence[Mistake] | None,
    *,
    boundary: int | None,
    warn: Callable[[str], None],
) -> None:
    """Writes the page atomically.

    A chart that cannot be drawn is replaced by a note, with a warning.

    Args:
      path: the path of the page.
      record: the content of study.json.
      curves: see `charts.learning_curves`.
      mistakes: mistakes of the last model; None if the search for them failed.
      boundary: see `charts.learning_curves`.
      warn: called with the text of each warning.
    """

    def chart(what: str, draw: Callable[[], str]) -> str:
        try:
            return draw()
        except Exception as error:
            warn(f"{path}: the {what} could not be drawn ({reason_of(error)})")
            return '<p class="note">This chart could not be drawn.</p>'

    last = record["models"][-1]
    title = f"{record['dataset']}: transfer learning, five models"
    sections = [
        f"<h1>{for_html(title)}</h1>",
        f"<p>{for_html(caption(record))}.</p>",
        _table(record),
        _published_note(record),
        "<h2>Learning curves</h2>",
        chart("learning curves", lambda: learning_curves(curves, boundary)),
        "<h2>Accuracy by class</h2>",
        chart("accuracy by class", lambda: class_bars(record)),
        numbers_of_classes(record["classes"]),
        f"<h2>Confusion matrix of model {last['model']}</h2>",
        '<div class="narrow">',
        chart(
            "confusion matrix",
            lambda: confusion_matrix(last, record["classes"]),
        ),
        "</div>",
        f"<h2>Most confident mistakes of model {last['model']}</h2>",
        _mistakes(mistakes),
        "<h2>Trainable parameters</h2>",
        _trainable(record),
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{for_html(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>"
    )
    files.write_text(path, page)


def _table(record: Mapping[str, Any]) -> str:
    columns = table_columns(record)
    head = "".join(f"<th>{for_html(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{for_html(c)}</td>" for c in cells) + "</tr>"
        for cells in zip(*columns.values(), strict=True)
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _published_note(record: Mapping[str, Any]) -> str:
    if "published_accuracy" not in record["models"][0]:
        return ""
    return (
        '<p class="note">Published accuracies: EfficientNetV2-B0 in TensorFlow'
        " 2.12 at 224 px with 750 training and 250 test photos per class; model"
        " 0 on a quarter of the test split, models 3 and 4 after six more"
        " epochs.</p>"
    )


def _mistakes(mistakes: Sequence[Mistake] | None) -> str:
    if mistakes is None:
        return '<p class="note">The mistakes could not be found.</p>'
    if not mistakes:
        return "<p>None: every test example was classified correctly.</p>"
    items = []
    for mistake in mistakes:
        data = base64.b64encode(mistake.png).decode()
        words = (
            f"{mistake.true}, predicted as {mistake.predicted}"
            f" ({mistake.probability:.0%})"
        )
        text = for_html(words)
        items.append(
            f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
            f'<figcaption title="{for_html(mistake.sample_id)}">{text}'
            "</figcaption></figure>"
        )
    return f'<div class="mistakes">{"".join(items)}</div>'


def _trainable(record: Mapping[str, Any]) -> str:
    items = []
    for row in record["models"]:
        layers = (
            f"the head and --unfreeze={record['unfreeze']}"
            if row["stage"] == "finetune"
            else "the head"
        )
        items.append(
            f"<li>model {row['model']}: {for_html(layers)},"
            f" {row['trainable_params']:,} of {row['total_params']:,}"
            " parameters</li>"
        )
    return (
        f"<ul>{''.join(items)}</ul><p>In every model BatchNorm, dropout and"
        " stochastic depth run in inference mode, and moving statistics never"
        " change.</p>"
    )
