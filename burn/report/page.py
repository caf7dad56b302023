"""The page, once as Markdown and once as HTML: sections of prose, tables and pictures."""

import base64
import html
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from burn.report.style import DPI

SCREEN = 200  # dots per inch of a figure on the page


@dataclass(frozen=True)
class Prose:
    """A paragraph, or a list of them with `items`."""

    text: str
    items: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grid:
    """A table in both forms; `base` is its name in tables/, `caption` stands below."""

    markdown: str
    html: str
    caption: str = ""
    base: str = ""


@dataclass(frozen=True)
class Picture:
    """figures/<name>.png, what it shows for who cannot see it, and a caption."""

    name: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Details:
    """Text that opens on demand, on the HTML page alone."""

    title: str
    text: str


@dataclass
class Section:
    title: str
    blocks: list[Prose | Grid | Picture | Details] = field(default_factory=list)


def to_markdown(title: str, sections: list[Section]) -> str:
    """The page for a reader of the repository."""
    out = [f"# {title}"]
    for section in sections:
        out += [f"## {section.title}"] if section.title else []
        for block in section.blocks:
            if isinstance(block, Prose):
                out += [block.text] if block.text else []
                out += ["\n".join(f"- {item}" for item in block.items)] if block.items else []
            elif isinstance(block, Grid):
                out += [block.markdown.rstrip()] + ([f"*{block.caption}*"] if block.caption else [])
            elif isinstance(block, Picture):
                out += [f"![{block.alt}](figures/{block.name}.png)", f"*{block.caption}*"]
    return "\n\n".join(out) + "\n"


def to_html(title: str, sections: list[Section], folder: Path) -> str:
    """The page as one file that needs no other: pictures are in it. `folder`: the report's own."""
    import jinja2

    here = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=here, autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True)  # fmt: skip
    template = environment.get_template("page.html")
    return template.render(title=title, sections=sections, kind=_kind, picture=_embedded(folder))


def _kind(block: Any) -> str:
    return type(block).__name__


def _embedded(folder: Path):
    from PIL import Image

    def source(name: str) -> tuple[str, float]:
        """The figure as an address that holds it, and its width in inches.

        As WebP and for a screen, which takes a tenth of the bytes.
        """
        content = io.BytesIO()
        with Image.open(folder / "figures" / f"{name}.png") as figure:
            width = figure.width / DPI
            figure.thumbnail((round(SCREEN * width), figure.height), Image.Resampling.LANCZOS)
            figure.convert("RGB").save(content, "WEBP", quality=85)
        return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}", width

    return source


def anchor(text: str, href: str) -> str:
    """A link; no link without an address. `text` is HTML already."""
    return f'<a href="{html.escape(href)}">{text}</a>' if href else text


def html_table(top: list[str], body: list[list[str]], left: int = 1) -> str:
    """A table of cells that are HTML already; the first `left` columns are names."""

    def row(cells: list[str], tag: str) -> str:
        made = [
            f"<{tag}{'' if i >= left else ' class=name'}>{cell}</{tag}>"
            for i, cell in enumerate(cells)
        ]
        return f"<tr>{''.join(made)}</tr>\n"

    rows = "".join(row(line, "td") for line in body)
    return f"<table>\n<thead>{row(top, 'th')}</thead>\n<tbody>\n{rows}</tbody>\n</table>"
