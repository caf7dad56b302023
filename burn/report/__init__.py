"""From the evaluations to tables, figures and a page: `report` is the whole step.

`collect` reads the results into one tidy frame; `tables` picks rows and columns of it and fills them;
`grid` prints a table as Markdown and LaTeX; `figures` and `examples` draw, in one `style`;
`captions` says what a reader must know; `difference` and `cost` make a table each, `provenance` tells
how the run was made. `sections` puts the page together, `page` prints it, `write` puts all in its
place. `compare` sets two runs side by side. `published.csv` holds the figures others printed, with
sources.
"""

from burn.report.write import report

__all__ = ["report"]
