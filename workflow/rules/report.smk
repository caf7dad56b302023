# Tables and figures; `snakemake --report report.html` gathers them in one page.


rule report:
    input:
        burn.steps.files("report"),
        expand(
            "<results>/eval/{protocol}/{method}/seed{seed}/{file}",
            protocol=experiment.protocols,
            method=[*METHODS, TEACHER],
            seed=experiment.seeds,
            file=["metrics.json", "predictions.npz"],
        ),
        rules.cost.output,
        expand(
            "<results>/export/{method}/seed{seed}/metrics.json",
            method=[*METHODS, TEACHER],
            seed=experiment.seeds,
        ),
        of_every_network("curve.csv"),
    output:
        report(
            directory("<results>/report/tables"),
            patterns=["{name}.csv"],
            caption="../report/tables.rst",
            category="Tables",
            labels={"table": "{name}"},
        ),
        report(
            directory("<results>/report/figures"),
            patterns=["{name}.png"],
            caption="../report/figures.rst",
            category="Figures",
            labels={"figure": "{name}"},
        ),
        report(
            "<results>/report/report.html",
            caption="../report/report.rst",
            category="Report",
            labels={"page": "report.html"},
        ),
        "<results>/report/report.md",
        "<results>/report/params.yaml",
        "<results>/report/metrics.json",
        directory("<results>/report/metrics"),
    params:
        settings=reads("report"),
    log:
        "<results>/logs/report.log",
    localrule: True
    shell:
        "python -m burn report --params {PARAMS} --results {RESULTS} --out {RESULTS}/report"
        " > {log} 2>&1"
