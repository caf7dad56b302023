# What every network costs: bytes stored, operations for one image. Counted, not measured, on those of
# the first seed.


rule cost:
    input:
        burn.steps.files("cost"),
        of_every_network("metrics.json"),
    output:
        "<results>/cost/metrics.json",
    params:
        settings=reads("cost"),
    log:
        "<results>/logs/cost.log",
    shell:
        "python -m burn cost --params {PARAMS} --results {RESULTS} --out {RESULTS}/cost > {log} 2>&1"
