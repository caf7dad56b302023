# Data sets: checked, counted, packed into one array.


rule prepare:
    input:
        burn.steps.files("prepare"),
    output:
        "<results>/data/{dataset}/data.safetensors",
        "<results>/data/{dataset}/index.json",
        "<results>/data/{dataset}/metrics.json",
    params:
        settings=reads("prepare"),
    log:
        "<results>/logs/prepare/{dataset}.log",
    priority: 40
    shell:
        "python -m burn prepare --params {PARAMS} --dataset {wildcards.dataset}"
        " --out {RESULTS}/data/{wildcards.dataset} > {log} 2>&1"
