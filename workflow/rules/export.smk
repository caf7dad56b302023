# The network that each method, and the teacher, has left: small files for other programs, compared with
# it on test images.


rule export:
    input:
        burn.steps.files("export"),
        expand(rules.prepare.output, dataset=experiment.pretrain_on),
        lambda w: networks(w.method, w.seed),
    output:
        "<results>/export/{method}/seed{seed}/metrics.json",
        "<results>/export/{method}/seed{seed}/network.safetensors",
        directory("<results>/export/{method}/seed{seed}/runtimes"),
    wildcard_constraints:
        method=one_of([*METHODS, TEACHER]),
    params:
        settings=reads("export"),
        networks=lambda w: examined(w.method, w.seed),
    log:
        "<results>/logs/export/{method}-seed{seed}.log",
    threads: THREADS
    shell:
        "python -m burn export --params {PARAMS} --networks {params.networks} --data {DATA}"
        " --out {RESULTS}/export/{wildcards.method}/seed{wildcards.seed} > {log} 2>&1"
