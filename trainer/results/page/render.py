"""Renders the templates of pages.

Every value in a template is untrusted. It is escaped for HTML, and invisible
characters are written as escapes.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from trainer.errors import one_line

if TYPE_CHECKING:
    import jinja2


@functools.cache
def _environment() -> jinja2.Environment:
    # Imported only here, because other commands need no page.
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trainer.results.page"),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "percent": percent,
        "seconds": seconds,
    }
    return environment


def render(template: str, **values: Any) -> str:
    """Returns a page.

    Args:
      template: the name of a file in `templates`.
      **values: its variables; a missing one is an error.
    """
    return _environment().get_template(template).render(values)


def _shown(value: Any) -> Any:
    """Escapes invisible characters of a text, but not of rendered parts."""
    # A rendered part is a subclass of str.
    return one_line(value) if type(value) is str else value


def number(value: float | None, digits: int = 4) -> str:
    """Returns a metric with a number of digits; - if it is undefined."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """Returns a share in per cent, such as 92.3 %; - if it is undefined."""
    return "-" if value is None else f"{100 * value:.1f} %"


def seconds(value: float | None) -> str:
    """Returns a time such as 42.0 s, 3 min 5 s or 2 h 10 min."""
    if value is None:
        return "-"
    whole = round(value)
    if whole < 60:
        return f"{value:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
