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
        view=reads("protocol"),
        dataset=lambda w: experiment.protocols[w.protocol].dataset,
    log:
        "<results>/logs/protocol/{protocol}.log",
    priority: 40
    shell:
        "python -m burn protocol --params {PARAMS} --protocol {wildcards.protocol}"
        " --code {input.code} --data {RESULTS}/data/{params.dataset}"
        " --out {RESULTS}/protocols/{wildcards.protocol} > {log} 2>&1"


rule evaluate:
    input:
        SOURCES["evaluate"],
        rules.protocol.output,
        rules.real.output[:2],
        rules.binact.output[:2],
        rules.binary.output[:2],
    output:
        "<results>/eval/{protocol}/{method}/seed{seed}/metrics.json",
        "<results>/eval/{protocol}/{method}/seed{seed}/predictions.npz",
    wildcard_constraints:
        method=one_of(DISTILLED),
    log:
        "<results>/logs/evaluate/{protocol}-{method}-seed{seed}.log",
    threads: THREADS
    resources:
        gpu=GPU,
    shell:
        "python -m burn evaluate --params {PARAMS} --protocol {RESULTS}/protocols/{wildcards.protocol}"
        " --networks {RESULTS}/pretrain/{wildcards.method}/seed{wildcards.seed}"
        " --seed {wildcards.seed}"
        " --out {RESULTS}/eval/{wildcards.protocol}/{wildcards.method}/seed{wildcards.seed}"
        " > {log} 2>&1"


use rule evaluate as evaluate_standalone with:
    input:
        SOURCES["evaluate"],
        rules.protocol.output,
        rules.standalone_real.output[:2],
        rules.standalone_binact.output[:2],
        rules.standalone_binary.output[:2],
    wildcard_constraints:
        method=one_of(STANDALONE),


rule evaluate_teacher:
    input:
        SOURCES["evaluate"],
        rules.protocol.output,
        rules.teacher.output[:2],
    output:
        "<results>/eval/{protocol}/teacher/seed{seed}/metrics.json",
        "<results>/eval/{protocol}/teacher/seed{seed}/predictions.npz",
    log:
        "<results>/logs/evaluate/{protocol}-teacher-seed{seed}.log",
    threads: THREADS
    resources:
        gpu=GPU,
    shell:
        "python -m burn evaluate --params {PARAMS} --protocol {RESULTS}/protocols/{wildcards.protocol}"
        " --networks {RESULTS}/teacher/seed{wildcards.seed}"
        " --seed {wildcards.seed}"
        " --out {RESULTS}/eval/{wildcards.protocol}/teacher/seed{wildcards.seed}"
        " > {log} 2>&1"
