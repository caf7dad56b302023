"""Names that users give (of classes, rows, reports) stand in figures, tables, pages and code as they are."""

import shutil
import subprocess

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from burn.deploy.c.write import _string
from burn.report import examples, page, style
from burn.report.grid import Cell, Grid, Head, escape, to_latex, to_markdown

NAMES = ["$5 & $10", "a$b", r"\$x\$", "_background", "__init__", "x_1^2", "100 %", "{item}", "${run}", "#1",
         "<b>bold</b>", "a|b", "*star* `code`", "[link](x)", "~tilde~", "what??/", 'say "hi"\\', "Grüße 犬 🐕"]  # fmt: skip


def seen(name: str) -> str:
    """The text that matplotlib draws for a name, and that it takes for no mathematics."""
    handle = Patch(label=style.plain(name))
    (text,) = Figure().legend(handles=[handle]).get_texts()
    drawn, is_math = text._preprocess_math(text.get_text())
    assert not is_math
    return drawn


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_shows_a_name_as_it_is(name):
    assert seen(name).strip() == name


def test_a_name_of_several_lines_is_one():
    assert seen("a\nb  c") == "a b c"


def test_the_key_of_a_figure_has_every_class(monkeypatch):
    figure = Figure()
    examples._key(figure, [(name, style.BLUE) for name in NAMES])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [text.strip() for text in texts] == [name.replace("$", r"\$") for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_latex_prints_a_name_as_it_is(name):
    printed = to_latex(Grid([Head("row", "name")], [[Cell(name)]], name, "x"))
    assert printed.count(escape(name)) == 2
    bare = escape(name)
    for special, plain in ((r"\textbackslash{}", ""), (r"\textasciitilde{}", ""),
                           (r"\textasciicircum{}", "")):  # fmt: skip
        bare = bare.replace(special, plain)
    for at, letter in enumerate(bare):
        assert letter not in "%_&#${}" or bare[at - 1] == "\\"


@pytest.mark.parametrize("name", NAMES)
def test_markdown_and_html_print_a_name_as_it_is(name):
    """As CommonMark has it: what a backslash stands before is itself."""
    grid = Grid([Head("row", "name"), Head("x")], [[Cell(name, "best"), Cell("1")]])
    row = to_markdown(grid).splitlines()[-1]
    text = row.removeprefix("| **").removesuffix("** | 1 |")
    assert "](" not in text.replace("\\](", "")
    plain, at = "", 0
    while at < len(text):
        at += text[at] == "\\"
        assert text[at - 1] == "\\" or text[at] not in "|<>`*$&~"
        plain, at = plain + text[at], at + 1
    assert plain == name
    assert page.markdown(name, []) == f"# {text}\n"
    html = page.html(name, [page.Section("", [grid])], None)
    for letter, said in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&#34;")):
        name = name.replace(letter, said)
    assert f"<h1>{name}</h1>" in html and html.count(name) >= 3


def test_names_within_words_stay_as_they_are():
    assert "| burn_same_2 |" in to_markdown(Grid([Head("x")], [[Cell("burn_same_2")]]))


@pytest.mark.skipif(not shutil.which("cc"), reason="no compiler of C")
@pytest.mark.parametrize("standard", ["c99", "gnu17"])
def test_c_prints_a_name_as_it_is(tmp_path, standard):
    names = [*NAMES, "two\nlines", "bell\a1", "\udce4.latin"]
    lines = ",".join(map(_string, names))
    (tmp_path / "a.c").write_text(
        f"#include <stdio.h>\nint main(void) {{ const char *const names[] = {{{lines}}};\n"
        f'for (int i = 0; i < {len(names)}; i++) printf("%s%c", names[i], 0);\nreturn 0; }}\n'
    )
    command = ["cc", f"-std={standard}", "-Wall", "-Wextra", "-Werror", "a.c", "-o", "a"]
    subprocess.run(command, cwd=tmp_path, check=True)
    said = subprocess.run([tmp_path / "a"], capture_output=True, check=True).stdout
    assert said.split(b"\0")[:-1] == [name.encode(errors="surrogateescape") for name in names]
