# Tables and figures; `snakemake --report report.html` gathers them in one page.


rule report:
    input:
        SOURCES["report"],
        expand(
            "<results>/eval/{protocol}/{method}/seed{seed}/{file}",
            protocol=experiment.protocols,
            method=[*STANDALONE, *DISTILLED, "teacher"],
            seed=experiment.seeds,
            file=["metrics.json", "predictions.npz"],
        ),
        expand(
            "<results>/cost/{method}/metrics.json", method=[*STANDALONE, *DISTILLED, "teacher"]
        ),
        expand("<results>/teacher/seed{seed}/curve.csv", seed=experiment.seeds),
        expand(
            "<results>/pretrain/{method}/seed{seed}/{stage}/curve.csv",
            method=[*STANDALONE, *DISTILLED],
            seed=experiment.seeds,
            stage=burn.params.STAGES,
        ),
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
        "<results>/report/metrics.json",
        directory("<results>/report/metrics"),
    params:
        view=reads("report"),
    log:
        "<results>/logs/report.log",
    shell:
        "python -m burn report --params {PARAMS} --results {RESULTS} --out {RESULTS}/report"
        " > {log} 2>&1"
