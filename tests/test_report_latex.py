"""Tables in LaTeX."""

import re
import shutil
import subprocess

import pytest
from reports import made, make_settings, with_two_tasks

from burn.report.grid import PACKAGES, escape


def test_latex_is_balanced_booktabs_and_escaped(results):
    out = made(results, make_settings(distilled=("burn",)))
    for name in ("linear", "stages"):
        text = (out / f"tables/{name}.tex").read_text()  # plain ASCII or it fails on old engines
        assert text.isascii()
        assert sorted(re.findall(r"\\begin{(\w+)}", text)) == sorted(
            re.findall(r"\\end{(\w+)}", text)
        )
        bare = re.sub(r"\\[{}$%&_#]", "", text)
        assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
        rules = re.findall(r"\\(top|mid|bottom)rule", text)
        assert rules == ["top", "mid", "bottom"] and "hline" not in text
        spec = re.search(r"\\begin{tabular}{(\w+)}", text)[1]
        body = [x for x in text.splitlines() if x.endswith(r"\\")]
        widths = {
            sum(int(n) - 1 for n in re.findall(r"multicolumn{(\d+)}", x))
            + len(re.findall(r"(?<!\\)&", x))
            + 1
            for x in body
        }
        assert widths == {len(spec)}
        assert r"Top-1 (\%)" in text
    text = (out / "tables/linear.tex").read_text()
    assert (
        r"burn & \underline{51.00} $\pm$ 1.00 & \textcolor{gray}{62.29} & \underline{46.00} $\pm$ 1.00 \\"
        in text
    )
    assert r"supervised & \textbf{62.00} $\pm$ 2.00 & \textcolor{gray}{64.10} &" in text
    assert escape("a_b & 5% #1 $x {y} ~^ \\") == (
        r"a\_b \& 5\% \#1 \$x \{y\} \textasciitilde{}\textasciicircum{} \textbackslash{}"
    )


def test_the_comparison_in_latex_groups_columns_by_task(results):
    lines = (
        (made(results, with_two_tasks(results)) / "tables/comparison.tex").read_text().splitlines()
    )
    top = lines.index(r"    \toprule")
    assert lines[top + 1 : top + 6] == [
        r"     & \multicolumn{3}{c}{linear} & \multicolumn{1}{c}{fewshot} \\",
        r"    \cmidrule(lr){2-4}\cmidrule(lr){5-5}",
        r"     & \multicolumn{2}{c}{imagenet$^\ast$} & \multicolumn{1}{c}{cifar10} & \multicolumn{1}{c}{cifar10} \\",
        r"    \cmidrule(lr){2-3}\cmidrule(lr){4-4}\cmidrule(lr){5-5}",
        r"    method & Top-1 & published & Top-1 & mAP \\",
    ]
    (burn,) = (line for line in lines if line.startswith("    burn &"))
    assert r"\textcolor{gray}{62.29}" in burn and burn.count("&") == 4


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex")
def test_latex_compiles(results, monkeypatch):
    monkeypatch.setattr("burn.report.grid.WIDE", 4)  # the comparison is shrunk, then
    out = made(results, with_two_tasks(results))
    assert r"\resizebox" in (out / "tables/comparison.tex").read_text()
    inputs = "".join(rf"\input{{{path}}}" for path in sorted(out.glob("tables/*.tex")))
    assert inputs.count("input") == 6
    head = rf"\documentclass[twocolumn]{{article}}\usepackage{{{','.join(PACKAGES)}}}\begin{{document}}"
    (results / "all.tex").write_text(head + inputs + r"\end{document}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    subprocess.run(command, cwd=results, check=True, capture_output=True)
