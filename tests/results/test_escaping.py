"""Names with markup characters, in each output format."""

from __future__ import annotations

import csv
import html
import io
import warnings
from xml.etree import ElementTree

import markdown
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from trainer.results.escaping import (
    csv_line,
    for_csv,
    for_html,
    for_markdown,
    for_plot,
    for_terminal,
    path_for_csv,
    plot_style,
)

NAMES = {
    "tex": "a$b$c_{",
    "one dollar": "$",
    "tag": "<script>alert(1)</script>",
    "attribute": "\"' onload='x",
    "cell": "x|y",
    "code": "`x` **y** _z_ ~~u~~",
    "link": "[x](http://y) ![z](u)",
    "line feed": "new\nline",
    "carriage return": "café\r",
    "terminal": "\x1b[31mred",
    "formula": "=cmd()",
    "minus": "-1+2",
    "script without glyphs": "日本語",
    "right to left": "\u202eexe.jpg",
    "backslash": "a\\b\\$",
    "entity": "&amp;&#36;",
    "hidden in a legend": "_x",
    "lone surrogate": "\udcff",
    "long": "x" * 255,
}
HOSTILE = pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)


@HOSTILE
def test_a_terminal_gets_visible_characters(name: str) -> None:
    assert for_terminal(name).isprintable()


@HOSTILE
def test_html_reads_back_the_terminal_text(name: str) -> None:
    text = f'<p title="{for_html(name)}">{for_html(name)}</p>'
    (element,) = ElementTree.fromstring(f"<b>{text}</b>")
    assert element.text == element.get("title") == for_terminal(name)
    assert len(element) == 0


@HOSTILE
def test_markdown_reads_back_the_terminal_text(name: str) -> None:
    """Renders with the library that TensorBoard uses."""
    table = f"| a | b |\n|---|---|\n| {for_markdown(name)} | end |"
    rendered = markdown.markdown(
        table, extensions=["markdown.extensions.tables"]
    )
    assert rendered.count("<td>") == 2, rendered
    cell = rendered.split("<td>")[1].split("</td>")[0]
    assert "<" not in cell
    assert html.unescape(cell) == for_terminal(name)


@HOSTILE
def test_a_chart_shows_any_name(name: str) -> None:
    assert len(for_plot(name)) <= 40
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with plot_style(svg__fonttype="path"):
            figure = Figure(layout="constrained")
            axes = figure.add_subplot()
            axes.set_xticks([0, 1], [for_plot(name)] * 2, rotation=90)
            axes.set_yticks([0, 1], [for_plot(name)] * 2)
            axes.set_title(for_plot(name))
            axes.text(0, 0, for_plot(name))
            FigureCanvasAgg(figure).draw()
            stream = io.StringIO()
            figure.savefig(stream, format="svg")
    ElementTree.fromstring(stream.getvalue())
    assert "<script" not in stream.getvalue()


def test_dollars_are_drawn_as_dollars() -> None:
    """TeX would draw `a$b$c` without the dollar signs."""
    with plot_style():
        text = Figure().text(0, 0, for_plot("a$b$c"))
        assert text.get_parse_math() is False


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sushi", "sushi"),
        ("=cmd()", "'=cmd()"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@x", "'@x"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("＝x", "'＝x"),  # noqa: RUF001
        ("'s Gravenhage", "''s Gravenhage"),
        ("x=1", "x=1"),
    ],
)
def test_text_cells_are_not_formulas(text: str, expected: str) -> None:
    assert for_csv(text) == expected
    # Undo as documented.
    assert expected.removeprefix("'") == text


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.jpg", "a.jpg"),
        ("/a.jpg", "/a.jpg"),
        ("-x.jpg", "./-x.jpg"),
        ("=a/b.jpg", "./=a/b.jpg"),
        ("@a.jpg", "./@a.jpg"),
        ("\rx.jpg", "./\rx.jpg"),
        ("'a.jpg", "'a.jpg"),
        ("gs://b/=a.jpg", "gs://b/=a.jpg"),
    ],
)
def test_path_cells_stay_the_same_path(path: str, expected: str) -> None:
    assert path_for_csv(path) == expected


@HOSTILE
def test_csv_reads_back_every_cell(name: str) -> None:
    cells = [name, "", f'"{name}"', f"{name};{name}"]
    text = csv_line(["plain"]) + csv_line(cells) + csv_line(["end"])
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows == [["plain"], cells, ["end"]]


def test_csv_quotes_only_what_needs_it() -> None:
    cells = ["a b", "a,b", "a;b", 'a"b', "a\rb", "0.5", ""]
    assert csv_line(cells) == 'a b,"a,b","a;b","a""b","a\rb",0.5,\n'
