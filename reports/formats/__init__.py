"""Writers of a report: terminal, Markdown, LaTeX, HTML, CSV and JSON."""
