"""The page and its parts: sections, tables, findings, comparisons, Markdown and HTML."""
