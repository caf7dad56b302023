"""The page, once as Markdown and once as HTML: sections of prose, tables and pictures."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

import jinja2
from PIL import Image

from burn.report.grid import Grid, plain, to_markdown
from burn.report.style import DPI

SCREEN = 200  # dots per inch of a figure on the page


class Prose(NamedTuple):
    """A paragraph, or a list of them with `items`."""

    text: str
    items: tuple[str, ...] = ()


class Picture(NamedTuple):
    """figures/<name>.png, what it shows for who cannot see it, and a caption."""

    name: str
    alt: str
    caption: str


class Details(NamedTuple):
    """Text that opens on demand, on the HTML page alone."""

    title: str
    text: str


class Section(NamedTuple):
    title: str
    blocks: list[Prose | Grid | Picture | Details]


def markdown(title: str, sections: list[Section]) -> str:
    """The page for a reader of the repository."""
    out = [f"# {plain(title)}"]
    for section in sections:
        out += [f"## {section.title}"] if section.title else []
        for block in section.blocks:
            if isinstance(block, Prose):
                out += [block.text, "\n".join(f"- {item}" for item in block.items)]
            elif isinstance(block, Grid):
                out += [to_markdown(block).rstrip(), f"*{block.caption}*"]
            elif isinstance(block, Picture):
                out += [f"![{block.alt}](figures/{block.name}.png)", f"*{block.caption}*"]
    return "\n\n".join(filter(None, out)) + "\n"


def html(title: str, sections: list[Section], folder: Path, steps: str = "..") -> str:
    """The page as one file that needs no other: pictures are in it.

    `folder`: the report's own; `steps`: where from there the run's steps lie, which cells lead to.
    """
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent),
                                     autoescape=True, trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    template = environment.get_template("page.html")
    return template.render(
        title=title,
        sections=sections,
        steps=steps,
        kind=lambda block: type(block).__name__,
        picture=lambda name: embedded(folder / "figures" / f"{name}.png"),
    )


def embedded(path: Path) -> tuple[str, float]:
    """The figure as an address that holds it, and its width in inches.

    As WebP and for a screen, which takes a tenth of the bytes.
    """
    content = io.BytesIO()
    with Image.open(path) as figure:
        width = figure.width / DPI
        figure.thumbnail((round(SCREEN * width), figure.height), Image.Resampling.LANCZOS)
        figure.convert("RGB").save(content, "WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}", width
