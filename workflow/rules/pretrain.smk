# Pretraining in stages: real-valued, then binary activations, then binary weights too. A method is run
# from its own copy, so that editing one file of burn/methods/ reruns the rows it makes, and no other.
# Priorities: what takes no time, then the longest chain first, evaluations (0) where a core is free, so
# that none idles at the end.


rule method:
    input:
        lambda w: f"burn/methods/{METHODS[w.method].file}.py",
    output:
        "<results>/methods/{method}.py",
    wildcard_constraints:
        method=one_of(METHODS),
    log:
        "<results>/logs/method/{method}.log",
    localrule: True
    priority: 40
    shell:
        "mkdir -p {RESULTS}/methods && cp {input} {output} > {log} 2>&1"


def frozen(wildcards):
    """The teacher's folder, of a method that learns from one."""
    return [f"{RESULTS}/teacher/seed{wildcards.seed}"] if wildcards.method in DISTILLED else []


def before(wildcards):
    """The folder of the stage before, if there is one."""
    earlier = STAGES[: STAGES.index(wildcards.stage)][-1:]
    return [f"{RESULTS}/pretrain/{wildcards.method}/seed{wildcards.seed}/{s}" for s in earlier]


rule pretrain:
    input:
        burn.steps.files("pretrain"),
        expand(rules.prepare.output, dataset=experiment.pretrain_on),
        lambda w: [f"{folder}/{file}" for folder in frozen(w) + before(w) for file in LEFT],
        code="<results>/methods/{method}.py",
    output:
        multiext("<results>/pretrain/{method}/seed{seed}/{stage}/", *LEFT),
    wildcard_constraints:
        method=one_of(METHODS),
        stage=one_of(STAGES),
    params:
        settings=reads("pretrain"),
        folders=lambda w: [
            word
            for option, found in (("--teacher", frozen(w)), ("--init", before(w)))
            for folder in found
            for word in (option, folder)
        ],
    log:
        "<results>/logs/pretrain/{method}-seed{seed}-{stage}.log",
    priority: 20
    threads: THREADS
    resources:
        device=DEVICE,
        **ASKED["train"],
    shell:
        "python -m burn pretrain --params {PARAMS} --method {wildcards.method} --stage {wildcards.stage}"
        " --seed {wildcards.seed} --code {input.code} --data {DATA} {params.folders}"
        " --out {RESULTS}/pretrain/{wildcards.method}/seed{wildcards.seed}/{wildcards.stage}"
        " > {log} 2>&1"
