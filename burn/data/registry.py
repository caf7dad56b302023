"""The data sets of the paper: what each is called, counts, and looks like on disk.

Any other name is a user's own set: an ImageFolder, a VOCdevkit, or images without labels.
"""

from dataclasses import dataclass
from pathlib import Path

FOLDER = "train/<class>/*.jpg and val/ or test/<class>/*.jpg"
DEVKIT = (
    "VOCdevkit/VOC20xx/{JPEGImages,Annotations or SegmentationClass}/ and "
    "VOCdevkit/VOC20xx/ImageSets/{Main or Segmentation}/{train,val,trainval,test}.txt"
)


@dataclass(frozen=True)
class Info:
    """One data set. `layout` says what its official copy contains, `folder` what one's own must.

    reader: the file of burn/data/official/ that reads it.
    """

    title: str
    classes: int
    reader: str
    layout: str
    folder: str = FOLDER
    multilabel: bool = False

    def expected(self, dataset: str, source: str) -> str:
        """The end of an error message: the tree that belongs to `source`, official or folder."""
        tree = self.layout if source == "official" else self.folder
        return f"expected {tree} (data.sets.{dataset}.source: {source})"


REGISTRY = {
    "imagenet": Info(
        "ImageNet (ILSVRC 2012)",
        1000,
        "imagenet",
        "train/<synset>/*.JPEG and val/<synset>/*.JPEG, "
        "or val/ILSVRC2012_val_*.JPEG beside ILSVRC2012_devkit_t12/data/"
        "{ILSVRC2012_validation_ground_truth.txt,meta.mat}, "
        "or ILSVRC2012_{devkit_t12.tar.gz,img_train.tar,img_val.tar}",
    ),
    "places205": Info(
        "Places205",
        205,
        "places205",
        "trainvalsplit_places205/{train,val}_places205.csv (lines: path label) and "
        "images256/<letter>/<class>/*.jpg (or data/vision/torralba/deeplearning/images256/)",
    ),
    "voc07": Info(
        "PASCAL VOC 2007",
        20,
        "voc",
        "VOCdevkit/VOC2007/{JPEGImages,Annotations,SegmentationClass}/, "
        "VOCdevkit/VOC2007/ImageSets/Main/{trainval,test}.txt, ImageSets/Segmentation/*.txt "
        "and, for detection and segmentation, the same of VOC2012 beside it",
        folder=DEVKIT,
        multilabel=True,
    ),
    "cifar10": Info(
        "CIFAR-10", 10, "cifar", "cifar-10-batches-py/{data_batch_1..5,test_batch,batches.meta}"
    ),
    "cifar100": Info("CIFAR-100", 100, "cifar", "cifar-100-python/{train,test,meta}"),
    "cub200": Info(
        "CUB-200-2011",
        200,
        "cub200",
        "CUB_200_2011/{images.txt,image_class_labels.txt,train_test_split.txt} and "
        "CUB_200_2011/images/<class>/*.jpg",
    ),
    "birdsnap": Info(
        "Birdsnap",
        500,
        "birdsnap",
        "images.txt, test_images.txt and download/images/<species>/*.jpg (or images/), "
        "as get_birdsnap.py leaves them",
    ),
}


def info(dataset: str, folder: Path) -> Info:
    """What is known of a data set that lies in `folder`."""
    if dataset in REGISTRY:
        return REGISTRY[dataset]
    if (folder / "VOCdevkit").is_dir():
        return Info(dataset, 0, "voc", "", DEVKIT, multilabel=True)
    return Info(dataset, 0, "", "", f"{FOLDER}, or {DEVKIT}")
