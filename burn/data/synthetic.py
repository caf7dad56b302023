"""Drawn stand-ins for the real data sets: small scenes whose class is a shape with a texture.

A class is (shape, texture, frequency, outline, aspect); which ones a data set gets is drawn from
its name and seed. Everything else is nuisance and drawn anew for each image: place, size, rotation,
all colours, phase of the texture, a waved background, small plain distractors, noise. Colours are
muted: a contrastive network would otherwise tell images apart by them and learn nothing else. And
as cows stand on grass, the background leans towards its class's own.

Random numbers are counter-based (Philox, one counter range per image), so image i is the same however
many images are drawn, and the streams of train and test cannot meet.
"""

import hashlib

import numpy as np

from burn.data.drawing import FREQUENCIES, SHAPES, TEXTURES, background, finish, paint

MAX_CLASSES = 1000
CHUNK = 2**16  # pixels drawn at once: small enough for the processor's cache
SLOTS, SLOT, SCENE = 3, 32, 64  # objects per image; uniform draws per object and per scene
HABITS = [1, 2, 3, 10, 12, 13, 15]  # draws of the scene: ground colour, turn and pace of its waves
HABIT = 0.6  # how far they lean towards the class's own


def class_specs(dataset: str, classes: int, seed: int) -> list[tuple[int, int, int, int, int]]:
    """The classes of a stand-in: (shape, texture, frequency, outline, aspect) indices, distinct.

    The first 12 differ in shape and the first 8 also in texture; later ones share more and more.
    """
    rng = _rng(dataset, seed, "classes", 0)
    shapes, textures = rng.permutation(len(SHAPES)), rng.permutation(len(TEXTURES))
    pairs = len(SHAPES) * len(TEXTURES)
    offsets = rng.integers(0, len(FREQUENCIES), pairs)
    specs = []
    for k in range(classes):
        shape = shapes[k % len(SHAPES)]
        texture = textures[(k + k // len(SHAPES)) % len(TEXTURES)]
        level = k // pairs  # each pair comes back at other frequencies, then outlined, then narrow
        frequency = (offsets[k % pairs] + level) % len(FREQUENCIES)
        outline, aspect = level // 3 % 2, level // 6
        specs.append(tuple(int(s) for s in (shape, texture, frequency, outline, aspect)))
    return specs


def class_names(dataset: str, classes: int, seed: int) -> list[str]:
    """Names such as `ring-dots-f2`, in the order of the labels."""
    return [
        f"{SHAPES[s]}-{TEXTURES[t]}-f{f + 1}" + "-outlined" * o + "-narrow" * a
        for s, t, f, o, a in class_specs(dataset, classes, seed)
    ]


def draw(dataset, split, count, size, classes, seed=0, start=0):
    """Images start..start+count-1 of a split, one object each; image i is of class i % classes.

    Returns images, uint8 (count, 3, size, size), and labels, int64 (count,).
    """
    specs = np.array(class_specs(dataset, classes, seed))
    habits = _rng(dataset, seed, "habits", 0).random((classes, len(HABITS)), np.float32)
    images = np.empty((count, 3, size, size), np.uint8)
    index, step = np.arange(start, start + count), max(1, CHUNK // size**2)
    for at in range(0, count, step):
        part = index[at : at + step]
        uniform, noise = _numbers(dataset, split, seed, part, size)
        own, scene = uniform[:, :SLOT], uniform[:, -SCENE:]
        scene[:, HABITS] += HABIT * (habits[part % classes] - scene[:, HABITS])
        radius = 0.6 + 0.35 * own[:, 0]
        # photographs centre and light their subject, more often than not
        centre = 0.8 * (1 - 0.9 * radius)[:, None] * (2 * own[:, 1:3] - 1)
        canvas = background(scene, size)
        paint(canvas, specs[part % classes], centre, radius, own, scene)
        images[at : at + step] = finish(canvas, scene, noise)
    return images, (index % classes).astype(np.int64)


def draw_scenes(dataset, split, count, size, classes, seed=0):
    """Scenes of one to three objects that do not overlap, with all their annotations.

    Returns a dict: images uint8 (N, 3, size, size); labels uint8 (N, classes), multi-hot; boxes
    float32 (M, 7), rows [image, class, x1, y1, x2, y2, difficult] in pixels, far edges exclusive,
    none of them difficult; masks uint8 (N, size, size), 0 background, class + 1 on objects, 255 on a one-pixel border around them.
    """
    specs = np.array(class_specs(dataset, classes, seed))
    images = np.empty((count, 3, size, size), np.uint8)
    masks = np.zeros((count, size, size), np.uint8)
    labels, boxes = np.zeros((count, classes), np.uint8), []
    step = max(1, CHUNK // size**2)
    for at in range(0, count, step):
        part = np.arange(at, min(at + step, count))
        uniform, noise = _numbers(dataset, split, seed, part, size)
        scene = uniform[:, -SCENE:]
        objects = 1 + (3 * scene[:, 0]).astype(int)
        centre, radius = _places(uniform, objects)
        canvas = background(scene, size)
        for slot in range(SLOTS):
            (rows,) = np.nonzero(slot < objects)
            own = uniform[rows, slot * SLOT : (slot + 1) * SLOT]
            # the first object goes round the classes, which keeps them balanced
            cls = (own[:, 3] * classes).astype(int) if slot else part[rows] % classes
            painted = canvas[rows]
            inside = paint(
                painted, specs[cls], centre[rows, slot], radius[rows, slot], own, scene[rows]
            )
            canvas[rows] = painted
            labels[part[rows], cls] = 1
            _annotate(inside, part[rows], cls, masks, boxes)
        images[part] = finish(canvas, scene, noise)
    boxes = np.array(boxes, np.float32).reshape(-1, 7)
    boxes = boxes[np.argsort(boxes[:, 0], kind="stable")]
    return {"images": images, "labels": labels, "boxes": boxes, "masks": masks}


def _rng(dataset: str, seed: int, stream: str, index: int) -> np.random.Generator:
    """The generator of one image: the key says which stream, the counter which image."""
    digest = hashlib.sha256(f"{dataset}/{seed}/{stream}".encode()).digest()
    key = np.frombuffer(digest[:16], np.uint64)
    counter = np.array([0, 0, 0, index], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def _numbers(dataset, split, seed, index, size):
    """Per image: its uniform draws, float32 (n, SLOTS * SLOT + SCENE), and its pixel noise."""
    uniform = np.empty((len(index), SLOTS * SLOT + SCENE), np.float32)
    noise = np.empty((len(index), 3, size, size), np.float32)
    for row, i in enumerate(index):
        rng = _rng(dataset, seed, split, int(i))
        rng.random(dtype=np.float32, out=uniform[row])
        rng.standard_normal(dtype=np.float32, out=noise[row])
    return uniform, noise


def _places(uniform, objects):
    """Centres (n, 3, 2) and radii (n, 3) of discs that lie inside the image and apart.

    Of eight random layouts the one with most room is taken, and shrunk to the room there is.
    """
    n = len(uniform)
    own = uniform[:, : SLOTS * SLOT].reshape(n, SLOTS, SLOT)
    radius = 0.34 + 0.2 * own[:, :, 0]
    layouts = (2 * own[:, :, 4:20] - 1).reshape(n, SLOTS, 8, 2) * (1 - radius)[..., None, None]
    room = np.full((n, 8), 1.0, np.float32)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        apart = np.linalg.norm(layouts[:, a] - layouts[:, b], axis=-1)
        share = apart / (radius[:, a] + radius[:, b])[:, None]
        room = np.where((b < objects)[:, None], np.minimum(room, share), room)
    best = room.argmax(1)
    rows = np.arange(n)
    return layouts[rows, :, best], radius * room[rows, best][:, None]


def _annotate(inside, index, cls, masks, boxes):
    """Add each object's box to `boxes`, and its pixels and border to `masks`, in place."""
    for pixels, i, c in zip(inside, index, cls, strict=True):
        ys, xs = np.nonzero(pixels)
        if len(ys) == 0:  # below a pixel: nothing to see
            continue
        boxes.append((i, c, xs.min(), ys.min(), xs.max() + 1, ys.max() + 1, 0))
        wide = np.pad(pixels, 1)
        near = np.zeros_like(pixels)
        for dy in range(3):
            for dx in range(3):
                near |= wide[dy : dy + pixels.shape[0], dx : dx + pixels.shape[1]]
        masks[i][near & ~pixels & (masks[i] == 0)] = 255
        masks[i][pixels] = c + 1
