"""The source files each step computes with: a change in one of them reruns the step.

Snakemake imports these lists; dvc.yaml spells them out (a test compares). They name the modules
that decide what is computed, not the ones that only carry it (__main__, params, artifacts, steps).
A method's file and a task's file are not here: they are nodes' inputs of their own, so that editing
one reruns only its own row or column.
"""

NETWORKS = [
    "burn/binary.py",
    "burn/models/__init__.py",
    "burn/models/maps.py",
    "burn/models/reactnet.py",
    "burn/models/resnet.py",
]
IMAGES = [
    "burn/data/augment.py",
    "burn/data/sources.py",
    "burn/data/store.py",
]
TRAINING = [
    *NETWORKS,
    *IMAGES,
    "burn/collapse.py",
    "burn/data/loader.py",
    "burn/layouts.py",
    "burn/losses.py",
    "burn/methods/base.py",
    "burn/models/heads.py",
    "burn/released.py",
    "burn/train.py",
]

SOURCES = {
    "prepare": [
        "burn/data/official/birdsnap.py",
        "burn/data/official/cifar.py",
        "burn/data/official/cub200.py",
        "burn/data/official/imagenet.py",
        "burn/data/official/lists.py",
        "burn/data/official/places205.py",
        "burn/data/official/voc.py",
        "burn/data/official/vocfiles.py",
        "burn/data/official/vockit.py",
        "burn/data/prepare.py",
        "burn/data/registry.py",
        "burn/data/sources.py",
        "burn/data/store.py",
        "burn/data/synthetic.py",
    ],
    "teacher": [*TRAINING, "burn/teacher.py"],
    "pretrain": [*TRAINING, "burn/pretrain.py"],
    "protocol": [],
    "evaluate": [
        *NETWORKS,
        *IMAGES,
        "burn/data/loader.py",
        "burn/evaluate.py",
        "burn/finetune.py",
        "burn/models/detector.py",
        "burn/models/segmenter.py",
        "burn/pictures.py",
        "burn/tasks/base.py",
    ],
    "cost": [*NETWORKS, "burn/cost.py"],
    "report": [
        "burn/pictures.py",
        "burn/report/__init__.py",
        "burn/report/captions.py",
        "burn/report/collect.py",
        "burn/report/cost.py",
        "burn/report/difference.py",
        "burn/report/examples.py",
        "burn/report/figures.py",
        "burn/report/latex.py",
        "burn/report/nodes.py",
        "burn/report/page.html",
        "burn/report/page.py",
        "burn/report/parts.py",
        "burn/report/plots.py",
        "burn/report/published.csv",
        "burn/report/rows.py",
        "burn/report/style.py",
        "burn/report/tables.py",
        "burn/report/write.py",
    ],
}
