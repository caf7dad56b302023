# The frozen floating-point feature extractor that distilled methods learn from (MoCo v2).


rule teacher:
    input:
        SOURCES["teacher"],
        expand(rules.prepare.output, dataset=experiment.pretrain_on),
    output:
        "<results>/teacher/seed{seed}/weights.safetensors",
        "<results>/teacher/seed{seed}/metrics.json",
        "<results>/teacher/seed{seed}/curve.csv",
    params:
        view=reads("teacher"),
    log:
        "<results>/logs/teacher/seed{seed}.log",
    priority: 30
    threads: THREADS
    resources:
        gpu=GPU,
    shell:
        "python -m burn teacher --params {PARAMS} --seed {wildcards.seed} --data {DATA}"
        " --out {RESULTS}/teacher/seed{wildcards.seed} > {log} 2>&1"
