# What every network costs: bytes stored, operations for one image. Counted, not measured, on that of
# the first seed.


rule cost:
    input:
        SOURCES["cost"],
        f"<results>/pretrain/{{method}}/seed{experiment.seeds[0]}/binary/metrics.json",
    output:
        "<results>/cost/{method}/metrics.json",
    wildcard_constraints:
        method=one_of(DISTILLED),
    params:
        view=reads("cost"),
        seed=experiment.seeds[0],
    log:
        "<results>/logs/cost/{method}.log",
    shell:
        "python -m burn cost --params {PARAMS}"
        " --networks {RESULTS}/pretrain/{wildcards.method}/seed{params.seed}/binary"
        " --out {RESULTS}/cost/{wildcards.method} > {log} 2>&1"


use rule cost as cost_standalone with:
    wildcard_constraints:
        method=one_of(STANDALONE),


rule cost_teacher:
    input:
        SOURCES["cost"],
        f"<results>/teacher/seed{experiment.seeds[0]}/metrics.json",
    output:
        "<results>/cost/teacher/metrics.json",
    params:
        view=reads("cost"),
        seed=experiment.seeds[0],
    log:
        "<results>/logs/cost/teacher.log",
    shell:
        "python -m burn cost --params {PARAMS} --networks {RESULTS}/teacher/seed{params.seed}"
        " --out {RESULTS}/cost/teacher > {log} 2>&1"
