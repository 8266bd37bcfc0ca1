"""Self-contained HTML pages: templates, charts as SVG, inline images."""
