# Data sets: checked, counted, packed into one array. Files that have changed in a set's folder are
# noticed by their names, sizes and times.


rule prepare:
    input:
        burn.steps.files("prepare"),
    output:
        "<results>/data/{dataset}/data.safetensors",
        "<results>/data/{dataset}/index.json",
        "<results>/data/{dataset}/metrics.json",
    params:
        settings=reads("prepare"),
        files=lambda w: burn.data.listing.text(experiment.data, w.dataset),
    log:
        "<results>/logs/prepare/{dataset}.log",
    priority: 40
    shell:
        "python -m burn prepare --params {PARAMS} --dataset {wildcards.dataset}"
        " --out {RESULTS}/data/{wildcards.dataset} > {log} 2>&1"
