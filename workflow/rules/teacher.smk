# The frozen floating-point feature extractor that distilled methods learn from (teacher.method).


rule teacher:
    input:
        burn.steps.files("teacher"),
        expand(rules.prepare.output, dataset=experiment.pretrain_on),
        code=f"burn/methods/{experiment.teacher.method}.py",
    output:
        multiext("<results>/teacher/seed{seed}/", *LEFT),
    params:
        settings=reads("teacher"),
    log:
        "<results>/logs/teacher/seed{seed}.log",
    priority: 30
    threads: THREADS
    resources:
        device=DEVICE,
        **ASKED["train"],
    shell:
        "python -m burn teacher --params {PARAMS} --seed {wildcards.seed}"
        " --code {input.code} --data {DATA}"
        " --out {RESULTS}/teacher/seed{wildcards.seed} > {log} 2>&1"
