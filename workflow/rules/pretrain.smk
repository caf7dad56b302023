# Pretraining in three stages: real-valued, then binary activations, then
# binary weights too. A stage of 0 epochs hands the networks on unchanged. A method is run from its
# own copy, so that editing one file of burn/methods/ reruns the rows it makes, and no other.
# Priorities: what takes no time, then the longest chain first, evaluations (0) where a core is free, so that
# none idles at the end.


rule method:
    input:
        lambda w: f"burn/methods/{({**STANDALONE, **DISTILLED})[w.method].file}.py",
    output:
        "<results>/methods/{method}.py",
    wildcard_constraints:
        method=one_of([*STANDALONE, *DISTILLED]),
    log:
        "<results>/logs/method/{method}.log",
    priority: 40
    shell:
        "mkdir -p {RESULTS}/methods && cp {input} {output} > {log} 2>&1"


# Distilled methods: beside a frozen teacher.
# Every stage makes weights, metrics and a curve; the steps behind it read the first two.
rule real:
    input:
        SOURCES["pretrain"],
        expand(rules.prepare.output, dataset=experiment.pretrain_on),
        code="<results>/methods/{method}.py",
        teacher="<results>/teacher/seed{seed}/weights.safetensors",
    output:
        "<results>/pretrain/{method}/seed{seed}/real/weights.safetensors",
        "<results>/pretrain/{method}/seed{seed}/real/metrics.json",
        "<results>/pretrain/{method}/seed{seed}/real/curve.csv",
    wildcard_constraints:
        method=one_of(DISTILLED),
    params:
        view=reads("pretrain", stage="real"),
    log:
        "<results>/logs/real/{method}-seed{seed}.log",
    priority: 20
    threads: THREADS
    resources:
        gpu=GPU,
    shell:
        "python -m burn pretrain --params {PARAMS} --method {wildcards.method} --stage real"
        " --seed {wildcards.seed} --code {input.code} --data {DATA}"
        " --teacher {RESULTS}/teacher/seed{wildcards.seed}"
        " --out {RESULTS}/pretrain/{wildcards.method}/seed{wildcards.seed}/real > {log} 2>&1"


rule binact:
    input:
        SOURCES["pretrain"],
        expand(rules.prepare.output, dataset=experiment.pretrain_on),
        rules.real.output[:2],
        code="<results>/methods/{method}.py",
        teacher="<results>/teacher/seed{seed}/weights.safetensors",
    output:
        "<results>/pretrain/{method}/seed{seed}/binact/weights.safetensors",
        "<results>/pretrain/{method}/seed{seed}/binact/metrics.json",
        "<results>/pretrain/{method}/seed{seed}/binact/curve.csv",
    wildcard_constraints:
        method=one_of(DISTILLED),
    params:
        view=reads("pretrain", stage="binact"),
    log:
        "<results>/logs/binact/{method}-seed{seed}.log",
    priority: 20
    threads: THREADS
    resources:
        gpu=GPU,
    shell:
        "python -m burn pretrain --params {PARAMS} --method {wildcards.method} --stage binact"
        " --seed {wildcards.seed} --code {input.code} --data {DATA}"
        " --teacher {RESULTS}/teacher/seed{wildcards.seed}"
        " --init {RESULTS}/pretrain/{wildcards.method}/seed{wildcards.seed}/real"
        " --out {RESULTS}/pretrain/{wildcards.method}/seed{wildcards.seed}/binact > {log} 2>&1"


rule binary:
    input:
        SOURCES["pretrain"],
        expand(rules.prepare.output, dataset=experiment.pretrain_on),
        rules.binact.output[:2],
        code="<results>/methods/{method}.py",
        teacher="<results>/teacher/seed{seed}/weights.safetensors",
    output:
        "<results>/pretrain/{method}/seed{seed}/binary/weights.safetensors",
        "<results>/pretrain/{method}/seed{seed}/binary/metrics.json",
        "<results>/pretrain/{method}/seed{seed}/binary/curve.csv",
    wildcard_constraints:
        method=one_of(DISTILLED),
    params:
        view=reads("pretrain", stage="binary"),
    log:
        "<results>/logs/binary/{method}-seed{seed}.log",
    priority: 20
    threads: THREADS
    resources:
        gpu=GPU,
    shell:
        "python -m burn pretrain --params {PARAMS} --method {wildcards.method} --stage binary"
        " --seed {wildcards.seed} --code {input.code} --data {DATA}"
        " --teacher {RESULTS}/teacher/seed{wildcards.seed}"
        " --init {RESULTS}/pretrain/{wildcards.method}/seed{wildcards.seed}/binact"
        " --out {RESULTS}/pretrain/{wildcards.method}/seed{wildcards.seed}/binary > {log} 2>&1"


# Standalone methods: the same, without a teacher.
rule standalone_real:
    input:
        SOURCES["pretrain"],
        expand(rules.prepare.output, dataset=experiment.pretrain_on),
        code="<results>/methods/{method}.py",
    output:
        "<results>/pretrain/{method}/seed{seed}/real/weights.safetensors",
        "<results>/pretrain/{method}/seed{seed}/real/metrics.json",
        "<results>/pretrain/{method}/seed{seed}/real/curve.csv",
    wildcard_constraints:
        method=one_of(STANDALONE),
    params:
        view=reads("pretrain", stage="real"),
    log:
        "<results>/logs/real/{method}-seed{seed}.log",
    priority: 10
    threads: THREADS
    resources:
        gpu=GPU,
    shell:
        "python -m burn pretrain --params {PARAMS} --method {wildcards.method} --stage real"
        " --seed {wildcards.seed} --code {input.code} --data {DATA}"
        " --out {RESULTS}/pretrain/{wildcards.method}/seed{wildcards.seed}/real > {log} 2>&1"


rule standalone_binact:
    input:
        SOURCES["pretrain"],
        expand(rules.prepare.output, dataset=experiment.pretrain_on),
        rules.standalone_real.output[:2],
        code="<results>/methods/{method}.py",
    output:
        "<results>/pretrain/{method}/seed{seed}/binact/weights.safetensors",
        "<results>/pretrain/{method}/seed{seed}/binact/metrics.json",
        "<results>/pretrain/{method}/seed{seed}/binact/curve.csv",
    wildcard_constraints:
        method=one_of(STANDALONE),
    params:
        view=reads("pretrain", stage="binact"),
    log:
        "<results>/logs/binact/{method}-seed{seed}.log",
    priority: 10
    threads: THREADS
    resources:
        gpu=GPU,
    shell:
        "python -m burn pretrain --params {PARAMS} --method {wildcards.method} --stage binact"
        " --seed {wildcards.seed} --code {input.code} --data {DATA}"
        " --init {RESULTS}/pretrain/{wildcards.method}/seed{wildcards.seed}/real"
        " --out {RESULTS}/pretrain/{wildcards.method}/seed{wildcards.seed}/binact > {log} 2>&1"


rule standalone_binary:
    input:
        SOURCES["pretrain"],
        expand(rules.prepare.output, dataset=experiment.pretrain_on),
        rules.standalone_binact.output[:2],
        code="<results>/methods/{method}.py",
    output:
        "<results>/pretrain/{method}/seed{seed}/binary/weights.safetensors",
        "<results>/pretrain/{method}/seed{seed}/binary/metrics.json",
        "<results>/pretrain/{method}/seed{seed}/binary/curve.csv",
    wildcard_constraints:
        method=one_of(STANDALONE),
    params:
        view=reads("pretrain", stage="binary"),
    log:
        "<results>/logs/binary/{method}-seed{seed}.log",
    priority: 10
    threads: THREADS
    resources:
        gpu=GPU,
    shell:
        "python -m burn pretrain --params {PARAMS} --method {wildcards.method} --stage binary"
        " --seed {wildcards.seed} --code {input.code} --data {DATA}"
        " --init {RESULTS}/pretrain/{wildcards.method}/seed{wildcards.seed}/binact"
        " --out {RESULTS}/pretrain/{wildcards.method}/seed{wildcards.seed}/binary > {log} 2>&1"
