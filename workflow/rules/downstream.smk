# Downstream evaluation: every network under every protocol. A protocol
# is a task on a data set; it holds the task's code, which is what evaluation runs.


rule protocol:
    input:
        code=lambda w: f"burn/tasks/{experiment.protocols[w.protocol].task}.py",
        data=lambda w: f"{RESULTS}/data/{experiment.protocols[w.protocol].dataset}/metrics.json",
    output:
        "<results>/protocols/{protocol}/protocol.json",
        "<results>/protocols/{protocol}/task.py",
    params:
        settings=reads("protocol"),
        dataset=lambda w: experiment.protocols[w.protocol].dataset,
    log:
        "<results>/logs/protocol/{protocol}.log",
    localrule: True
    priority: 40
    shell:
        "python -m burn protocol --params {PARAMS} --protocol {wildcards.protocol}"
        " --code {input.code} --data {RESULTS}/data/{params.dataset}"
        " --out {RESULTS}/protocols/{wildcards.protocol} > {log} 2>&1"


def examined(method, seed):
    """The folder whose networks are examined: the teacher's, or that of all stages of a method."""
    return f"{RESULTS}/teacher/seed{seed}" if method == TEACHER else f"{RESULTS}/pretrain/{method}/seed{seed}"


def networks(method, seed):
    """What the training of a method, or of the teacher, left."""
    folder = examined(method, seed)
    folders = [folder] if method == TEACHER else [f"{folder}/{stage}" for stage in STAGES]
    return [f"{folder}/{file}" for folder in folders for file in LEFT]


rule evaluate:
    input:
        burn.steps.files("evaluate"),
        rules.protocol.output,
        lambda w: networks(w.method, w.seed),
    output:
        "<results>/eval/{protocol}/{method}/seed{seed}/metrics.json",
        "<results>/eval/{protocol}/{method}/seed{seed}/predictions.npz",
    wildcard_constraints:
        method=one_of([*METHODS, TEACHER]),
    params:
        networks=lambda w: examined(w.method, w.seed),
    log:
        "<results>/logs/evaluate/{protocol}-{method}-seed{seed}.log",
    group: "evaluate-{method}-seed{seed}"
    threads: THREADS
    resources:
        device=DEVICE,
        turn=1,
        **ASKED["evaluate"],
    shell:
        "python -m burn evaluate --params {PARAMS} --protocol {RESULTS}/protocols/{wildcards.protocol}"
        " --networks {params.networks} --seed {wildcards.seed}"
        " --out {RESULTS}/eval/{wildcards.protocol}/{wildcards.method}/seed{wildcards.seed}"
        " > {log} 2>&1"
