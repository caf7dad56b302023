"""The data sets of the paper: what each is called, counts, and looks like on disk."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Info:
    """One data set. `layout` says what its official copy contains, for error messages."""

    title: str
    classes: int
    layout: str
    multilabel: bool = False
    download: bool = False  # whether torchvision can fetch it without an account


FOLDER = "train/<class>/*.jpg and val/ or test/<class>/*.jpg"

REGISTRY = {
    "imagenet": Info(
        "ImageNet (ILSVRC 2012)",
        1000,
        "train/<synset>/*.JPEG and val/<synset>/*.JPEG, "
        "or ILSVRC2012_{devkit_t12.tar.gz,img_train.tar,img_val.tar}",
    ),
    "places205": Info("Places205", 205, "images256/ and the trainvalsplit_places205 lists"),
    "voc07": Info(
        "PASCAL VOC 2007",
        20,
        "VOCdevkit/VOC2007/{JPEGImages,Annotations,SegmentationClass}/ and "
        "VOCdevkit/VOC2007/ImageSets/Main/{trainval,test}.txt",
        multilabel=True,
        download=True,
    ),
    "cifar10": Info(
        "CIFAR-10",
        10,
        "cifar-10-batches-py/{data_batch_1..5,test_batch,batches.meta}",
        download=True,
    ),
    "cifar100": Info("CIFAR-100", 100, "cifar-100-python/{train,test,meta}", download=True),
    "cub200": Info("CUB-200-2011", 200, "images/, images.txt and train_test_split.txt"),
    "birdsnap": Info("Birdsnap", 500, "images/ and test_images.txt"),
}
