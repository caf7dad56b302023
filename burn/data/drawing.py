"""How the stand-ins are drawn: background, shapes, textures, colours, the imaginary camera.

Inside, the image spans [-1, 1] in x and y, and an object the unit disc in its own (u, v).
"""

import numpy as np

SHAPES = (
    *("disc", "square", "triangle", "cross", "ring", "star"),
    *("bars", "moon", "lens", "ell", "hourglass", "trio"),
)
TEXTURES = ("stripes", "checks", "dots", "rings", "spokes", "waves", "blobs", "grid")
FREQUENCIES = (0.9, 1.4, 2.1)  # texture periods per object radius
SATURATION = 0.25  # how far a colour's channels may be apart


def _grid(size: int):
    axis = ((np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1).astype(np.float32)
    return axis[None, None, :], axis[None, :, None]


def _column(values):
    return np.asarray(values, np.float32)[:, None, None]


def background(scene, size):
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


def paint(canvas, specs, centre, radius, own, scene):
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


def finish(canvas, scene, noise):
    """Contrast, brightness and noise of the imaginary camera; uint8."""
    contrast, light, grain = (scene[:, a, None, None, None] for a in (52, 53, 54))
    canvas = 0.5 + (0.8 + 0.3 * contrast) * (canvas - 0.5) + 0.1 * (light - 0.5)
    canvas += (0.02 + 0.02 * grain) * noise
    return (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)
