"""The report's tables and figure of what is exported, and of times if they were measured."""

import json

import pytest
from reports import find, grid, lines_of, made, make_settings

from burn import places
from burn.errors import UserError


def put_times(results):
    """Made-up times: torch takes 40 ms, floats 8, bytes 4 and bits 2; twice that at 224 pixels."""
    rows = []
    for methods, arch, runtimes in (
        (["burn", "s2bnn"], "reactnet", ("torch", "OpenVINO fp32", "OpenVINO int8", "OpenVINO 1 bit")),
        (["teacher"], "resnet18", ("torch", "OpenVINO fp32", "OpenVINO int8")),
    ):  # fmt: skip
        network = {"arch": arch, "width": 0.25, "stem": "imagenet"}
        network |= {"neck": True} if arch == "reactnet" else {}
        for pixels in (32, 224):
            for threads in (1, 2):
                for runtime, ms in zip(runtimes, (40.0, 8.0, 4.0, 2.0)):
                    ms = ms * (1 + (pixels == 224)) / threads
                    row = {"median": ms, "low": 0.9 * ms, "high": 1.1 * ms, "runs": 9}
                    rows.append({"methods": methods, "network": network, "runtime": runtime,
                                 "pixels": pixels, "exported": pixels == 32, "batch": 1,
                                 "threads": threads} | row)  # fmt: skip
    machine = {"processor": "Made-up 9000", "sets": ["avx2"], "threads": 2}
    places.latency(results).write_text(json.dumps({"machine": machine, "rows": rows}))


def test_without_times_the_table_has_bytes_and_agreement(results):
    out = made(results)
    lines = lines_of(out / "tables/deployment.csv")
    assert [x["method"] for x in lines if x["format"] == "packed"] == [
        "random", "supervised", "s2bnn", "burn", "teacher"
    ]  # fmt: skip
    forms = [x["format"] for x in lines if x["method"] in ("burn", "teacher")]
    assert forms == ["packed", "openvino", "qonnx", "packed", "openvino", "openvino-int8"]
    burn = find(lines, method="burn", format="openvino")
    assert (burn["bits"], burn["bytes"]) == ("1", "100000")
    # over seeds: the largest of 0.5, 1 and 1.5; means of the others
    assert [float(burn[k]) for k in ("difference", "apart", "agreement")] == [1.5, 0.5, 99.5]
    assert find(lines, method="teacher", format="openvino-int8")["agreement"] == "97.5"
    assert burn["ms"] == ""
    table = grid(out / "tables/deployment.md")
    assert table[0][-1] == "agreement (%)"
    assert "Times are not measured here" in (out / "tables/deployment.md").read_text()
    assert not (out / "tables/latency.md").exists()
    page = (out / "report.md").read_text()
    assert "## Deployment" in page and "figures/deployment.png" in page


def test_times_stand_beside_what_they_are_of(results, drawn):
    put_times(results)
    out = made(results, make_settings(seeds=(0,)))
    table = grid(out / "tables/deployment.md")
    ms = {(row[0].split("]")[0].strip("["), row[1], row[2]): row[-1] for row in table[1:]}
    assert ms["burn", "torch", "1"] == "40" and ms["burn", "OpenVINO", "1"] == "2"
    assert ms["s2bnn", "OpenVINO", "1"] == "2"
    assert ms["teacher", "OpenVINO", "8"] == "4" and ms["teacher", "OpenVINO", "32"] == "8"
    assert ms["random", "OpenVINO", "1"] == "–", "its network was not timed"
    assert "on one thread of Made-up 9000" in (out / "tables/deployment.md").read_text()
    times = grid(out / "tables/latency.md")
    assert times[0] == ["network", "width", "pixels", "batch", "threads",
                        "torch", "OpenVINO fp32", "OpenVINO int8", "OpenVINO 1 bit"]  # fmt: skip
    assert ["reactnet + neck", "0.25", "224", "1", "2"] in [row[:5] for row in times]
    small = next(row for row in times if row[:5] == ["reactnet + neck", "0.25", "32", "1", "1"])
    assert small[5] == "40 (36–44)" and small[8] == "2 (1.8–2.2)"
    float_ = next(row for row in times if row[0] == "resnet18")
    assert float_[8] == "–"
    csv = lines_of(out / "tables/latency.csv")
    assert len(csv) == 4 * 7 and csv[0]["methods"] == "burn s2bnn"
    assert (out / "figures/deployment.png").stat().st_size > 5000
    assert (out / "tables/latency.tex").read_text().isascii()


def test_an_export_of_something_else_is_named(results):
    path = places.exported(results, "burn", 1) / "metrics.json"
    path.write_text(json.dumps({"method": "s2bnn", "formats": {}}))
    with pytest.raises(UserError) as error:
        made(results)
    told = f"{path}: method: found 's2bnn'; expected 'burn', exported"
    assert str(error.value) == told
