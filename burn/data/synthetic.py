"""Drawn stand-ins for the real data sets: small scenes whose class is a shape with a texture.

A class is (shape, texture, frequency, outline, aspect); which ones a data set gets is drawn from
its name and seed. Everything else is nuisance and drawn anew for each image: place, size, rotation,
all colours, phase of the texture, a waved background, small plain distractors, noise. Colours are
muted: a contrastive network would otherwise tell images apart by them and learn nothing else. And
as cows stand on grass, the background leans towards its class's own. Random numbers are counter-based (Philox, one counter range per image), so
image i is the same however many images are drawn, and the streams of train and test cannot meet.

Inside, the image spans [-1, 1] in x and y, and an object the unit disc in its own (u, v).
"""

import hashlib

import numpy as np

SHAPES = (
    *("disc", "square", "triangle", "cross", "ring", "star"),
    *("bars", "moon", "lens", "ell", "hourglass", "trio"),
)
TEXTURES = ("stripes", "checks", "dots", "rings", "spokes", "waves", "blobs", "grid")
FREQUENCIES = (0.9, 1.4, 2.1)  # texture periods per object radius
MAX_CLASSES = 1000
CHUNK = 2**16  # pixels drawn at once: small enough for the processor's cache
SATURATION = 0.25  # how far a colour's channels may be apart
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
        canvas = _background(scene, size)
        _paint(canvas, specs[part % classes], centre, radius, own, scene)
        images[at : at + step] = _finish(canvas, scene, noise)
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
        canvas = _background(scene, size)
        for slot in range(SLOTS):
            (rows,) = np.nonzero(slot < objects)
            own = uniform[rows, slot * SLOT : (slot + 1) * SLOT]
            # the first object goes round the classes, which keeps them balanced
            cls = (own[:, 3] * classes).astype(int) if slot else part[rows] % classes
            painted = canvas[rows]
            inside = _paint(
                painted, specs[cls], centre[rows, slot], radius[rows, slot], own, scene[rows]
            )
            canvas[rows] = painted
            labels[part[rows], cls] = 1
            _annotate(inside, part[rows], cls, masks, boxes)
        images[part] = _finish(canvas, scene, noise)
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


def _grid(size: int):
    axis = ((np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1).astype(np.float32)
    return axis[None, None, :], axis[None, :, None]


def _column(values):
    return np.asarray(values, np.float32)[:, None, None]


def _background(scene, size):
    """Two crossed waves of random colour, and four small plain distractors: (n, 3, size, size)."""
    x, y = _grid(size)
    base, *tints = (_muted(scene[:, a : a + 3])[:, :, None, None] for a in (1, 4, 7))
    canvas = np.broadcast_to(_ground(base), (len(scene), 3, size, size)).copy()
    for k, tint in enumerate(tints):
        turn, phase, pace = (_column(scene[:, 10 + 3 * k + j]) for j in range(3))
        pace = 2 + 10 * pace
        wave = np.sin(
            pace * (np.cos(7 * turn) * x + np.sin(7 * turn) * y) + 6.2832 * phase,
        )
        canvas += 0.3 * (tint - 0.5) * wave[:, None]
    for k in range(4):
        d = scene[:, 20 + 8 * k : 28 + 8 * k]
        turn, long, wide = (_column(v) for v in (3.1416 * d[:, 0], d[:, 1], d[:, 2]))
        dx, dy = x - _column(2 * d[:, 3] - 1), y - _column(2 * d[:, 4] - 1)
        along = np.abs(np.cos(turn) * dx + np.sin(turn) * dy) - (0.08 + 0.12 * long)
        across = np.abs(np.cos(turn) * dy - np.sin(turn) * dx) - (0.05 + 0.06 * wide)
        cover = np.clip(0.5 - np.maximum(along, across) * (size / 2), 0, 1)[:, None]
        canvas += 0.6 * cover * (_muted(d[:, 5:8])[:, :, None, None] - canvas)
    return canvas


def _paint(canvas, specs, centre, radius, own, scene):
    """Paint one object on each image of `canvas` (n, 3, size, size), in place.

    Returns which pixels belong to it, bool (n, size, size).
    """
    size = canvas.shape[-1]
    x, y = _grid(size)
    # objects stand roughly upright, as in photographs
    turn = _column((own[:, 20] - 0.5) * 1.4)
    dx, dy = (
        (x - _column(centre[:, 0])) / _column(radius),
        (y - _column(centre[:, 1])) / _column(radius),
    )
    u, v = np.cos(turn) * dx + np.sin(turn) * dy, np.cos(turn) * dy - np.sin(turn) * dx
    u = u / _column(np.where(specs[:, 4], 0.6, 1.0))
    edge, value = np.empty_like(u), np.empty_like(u)
    for shape in np.unique(specs[:, 0]):
        (rows,) = np.nonzero(specs[:, 0] == shape)
        edge[rows] = _shape(SHAPES[shape], u[rows], v[rows])
    for texture in np.unique(specs[:, 1]):
        (rows,) = np.nonzero(specs[:, 1] == texture)
        pace = np.array(FREQUENCIES, np.float32)[specs[rows, 2]]
        value[rows] = _texture(TEXTURES[texture], u[rows], v[rows], pace, own[rows])
    per_pixel = _column(radius * (size / 2))
    cover = np.clip(0.5 - edge * per_pixel, 0, 1)
    first, second, line = _colours(own, scene)
    paint = second + np.clip(0.5 + 1.5 * value, 0, 1)[:, None] * (first - second)
    rim = np.clip(0.5 + (edge + 0.16) * per_pixel, 0, 1) * _column(specs[:, 3])
    paint += rim[:, None] * (line - paint)
    canvas += cover[:, None] * (paint - canvas)
    return cover > 0.5


def _colours(own, scene):
    """Three colours per object, (n, 3, 1, 1): two far apart, the first one away from the ground."""
    tries = _muted(own[:, 21:27].reshape(-1, 2, 3))
    far = np.linalg.norm(tries - _ground(_muted(scene[:, None, 1:4])), axis=-1).argmax(1)
    first = tries[np.arange(len(own)), far]
    light = first.mean(1, keepdims=True)
    away = np.where(light < 0.5, 0.4, -0.4) * (1 + 0.4 * own[:, 27:28])
    second = first + away + SATURATION * (own[:, 27:30] - own[:, 27:28])
    line = 1.0 - 0.5 * (first + second)
    return tuple(0.15 + 0.85 * c[:, :, None, None] for c in (first, second, line))


def _muted(colour):
    """Colours (..., 3) with their channels drawn together towards the first."""
    return colour[..., :1] + SATURATION * (colour - colour[..., :1])


def _ground(uniform):
    return 0.3 + 0.25 * uniform


def _shape(name, u, v):
    """Roughly the signed distance to the shape's edge, negative inside, in object radii."""
    rho, au, av = np.hypot(u, v), np.abs(u), np.abs(v)
    match name:
        case "disc":
            return rho - 0.75
        case "square":
            return np.maximum(au, av) - 0.67
        case "triangle":
            return np.maximum(v - 0.5, 0.866 * au - 0.5 * v - 0.5)
        case "cross":
            return np.minimum(np.maximum(au - 0.27, av - 0.9), np.maximum(au - 0.9, av - 0.27))
        case "ring":
            return np.abs(rho - 0.66) - 0.24
        case "star":
            return 0.7 * (rho - 0.62 - 0.3 * np.cos(5 * np.arctan2(u, -v)))
        case "bars":
            return np.maximum(np.abs(au - 0.5) - 0.23, av - 0.82)
        case "moon":
            return np.maximum(rho - 0.92, 0.72 - np.hypot(u - 0.5, v))
        case "lens":
            return np.hypot(au + 0.55, v) - 1.08
        case "ell":
            upright = np.maximum(np.abs(u + 0.4) - 0.27, av - 0.75)
            return np.minimum(upright, np.maximum(au - 0.67, np.abs(v - 0.48) - 0.27))
        case "hourglass":
            return np.maximum(av - 0.75, 0.75 * (au - 0.12 - 0.8 * av))
        case "trio":
            low = np.hypot(au - 0.5, v - 0.4)
            return np.minimum(low, np.hypot(u, v + 0.5)) - 0.42


def _texture(name, u, v, pace, own):
    """The texture's value, about -1..1, at phases drawn per object."""
    w = _column(6.2832 * pace)
    p, q = w * u + _column(6.2832 * own[:, 30]), w * v + _column(6.2832 * own[:, 31])
    match name:
        case "stripes":
            return np.sin(q)
        case "checks":
            return 2 * np.sin(0.8 * p) * np.sin(0.8 * q)
        case "dots":
            return 1.2 * (np.cos(p) + np.cos(q)) - 0.9
        case "rings":
            return np.sin(w * np.hypot(u, v) + _column(6.2832 * own[:, 30]))
        case "spokes":
            rays = _column(np.round(3 * pace + 1))
            return np.sin(rays * np.arctan2(v, u) + _column(6.2832 * own[:, 30]))
        case "waves":
            return np.sin(p + 1.3 * np.sin(0.7 * q))
        case "blobs":
            turns = 6.2832 * own[:, 4:8]
            waves = (
                np.sin(np.cos(_column(a)) * p + np.sin(_column(a)) * q + _column(9 * b))
                for a, b in zip(turns.T, own[:, 8:12].T, strict=True)
            )
            return sum(waves)
        case "grid":
            return 3 * np.maximum(np.cos(p), np.cos(q)) - 2.1


def _finish(canvas, scene, noise):
    """Contrast, brightness and noise of the imaginary camera; uint8."""
    contrast, light, grain = (scene[:, a, None, None, None] for a in (52, 53, 54))
    canvas = 0.5 + (0.8 + 0.3 * contrast) * (canvas - 0.5) + 0.1 * (light - 0.5)
    canvas += (0.02 + 0.02 * grain) * noise
    return (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)


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
