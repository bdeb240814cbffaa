"""Two right limbs for the demonstration: a wrist with a broken radius, a hand that is whole. Drawn, not measured."""

from __future__ import annotations

from dicom_node.cli.demo.skeleton import Point, Tube, View, fractured

WRIST_VIEWS = (
    View("PA", 0.0, (-50.0, -56.0), (100.0, 130.0), 0.14),
    View("LL", 90.0, (-46.0, -56.0), (92.0, 130.0), 0.14),
)
HAND_VIEWS = (
    View("PA", 0.0, (-98.0, -212.0), (180.0, 240.0), 0.2),
    View("LLO", 38.0, (-100.0, -212.0), (180.0, 240.0), 0.2),
)

_RADIUS = Tube(
    (-9.5, -0.5, 0.0),
    (-7.0, 165.0, 1.0),
    (
        (0.0, 13.2),
        (0.03, 14.3),
        (0.07, 13.6),
        (0.11, 11.6),
        (0.16, 9.2),
        (0.22, 7.6),
        (0.32, 6.6),
        (0.6, 6.7),
        (1.0, 7.2),
    ),
    depth=0.78,
    cortex=2.5,
    caps=(5.0, 2.0),
)
_STYLOID = Tube((-20.5, -6.0, -1.0), (-16.0, 14.0, 0.0), ((0.0, 2.6), (0.4, 5.0), (1.0, 4.0)), 1.2, 0.7, (5.0, 12.0))
_ULNA = Tube(
    (12.8, 2.5, 3.0),
    (9.5, 165.0, 2.0),
    ((0.0, 6.6), (0.03, 7.4), (0.07, 6.7), (0.12, 5.3), (0.2, 4.7), (0.5, 5.3), (1.0, 6.6)),
    depth=1.0,
    cortex=2.1,
    caps=(3.5, 2.0),
)
_ULNAR_STYLOID = Tube((17.6, -3.0, 5.0), (16.6, 8.0, 4.5), ((0.0, 1.5), (1.0, 2.2)), 1.0, 0.6, (2.5, 3.0))

_CARPUS: tuple[tuple[Point, Point, float], ...] = (  # distal pole, proximal pole, greatest half width
    ((-17.5, -17.5, -7.0), (-6.5, -4.5, -2.0), 5.2),  # scaphoid
    ((1.5, -13.5, -1.0), (0.5, -1.2, 1.0), 6.6),  # lunate
    ((12.5, -15.5, 3.0), (9.0, -5.0, 2.0), 5.4),  # triquetrum
    ((14.0, -14.0, -9.0), (13.0, -6.5, -8.5), 3.8),  # pisiform
    ((-22.0, -30.5, -9.0), (-18.0, -18.5, -7.0), 5.6),  # trapezium
    ((-11.0, -31.0, -2.0), (-10.5, -20.5, -2.0), 4.6),  # trapezoid
    ((-0.8, -33.0, 0.0), (-0.5, -13.5, 0.0), 5.6),  # capitate
    ((9.5, -31.5, 1.0), (7.0, -15.5, 0.0), 6.2),  # hamate
)
_OVAL = ((0.0, 0.75), (0.3, 0.97), (0.6, 1.0), (1.0, 0.78))
_METACARPAL = ((0.0, 0.86), (0.1, 1.0), (0.22, 0.84), (0.45, 0.62), (0.68, 0.66), (0.86, 0.95), (0.93, 1.0), (1.0, 0.9))
_PHALANX = ((0.0, 0.95), (0.08, 1.0), (0.25, 0.76), (0.6, 0.62), (0.82, 0.70), (0.93, 0.78), (1.0, 0.7))
_TIP = ((0.0, 1.0), (0.1, 0.98), (0.35, 0.6), (0.7, 0.48), (0.88, 0.72), (1.0, 0.6))

_RAYS: tuple[tuple[tuple[Point, Point, float], ...], ...] = (  # metacarpal, then phalanges: base, head, half width
    (
        ((-23.0, -33.0, -11.0), (-41.0, -70.0, -18.0), 7.3),
        ((-42.0, -73.0, -18.0), (-55.0, -99.0, -20.0), 6.6),
        ((-56.0, -101.5, -20.0), (-67.0, -121.0, -20.0), 6.2),
    ),
    (
        ((-12.0, -32.5, 0.0), (-20.0, -96.0, -1.0), 7.4),
        ((-20.5, -98.5, -1.0), (-26.0, -138.0, -4.0), 6.6),
        ((-26.3, -140.0, -4.0), (-29.5, -163.0, -8.0), 5.4),
        ((-29.7, -164.8, -8.0), (-32.0, -181.5, -10.0), 4.6),
    ),
    (
        ((-0.8, -35.0, 1.5), (-1.5, -97.0, 1.0), 7.3),
        ((-1.6, -99.5, 1.0), (-2.0, -144.0, -2.0), 6.7),
        ((-2.0, -146.0, -2.0), (-2.3, -173.5, -6.0), 5.6),
        ((-2.3, -175.3, -6.0), (-2.6, -193.0, -8.0), 4.8),
    ),
    (
        ((7.5, -33.5, 1.0), (15.5, -89.5, 0.0), 6.4),
        ((15.8, -92.0, 0.0), (21.5, -132.5, -4.0), 6.0),
        ((21.8, -134.5, -4.0), (25.2, -160.0, -9.0), 5.1),
        ((25.4, -161.8, -9.0), (27.6, -179.0, -11.0), 4.5),
    ),
    (
        ((14.0, -31.5, 0.0), (30.0, -80.5, -3.0), 6.1),
        ((30.6, -82.8, -3.0), (41.0, -113.5, -8.0), 5.3),
        ((41.6, -115.3, -8.0), (47.0, -132.5, -12.0), 4.4),
        ((47.5, -134.2, -12.0), (52.0, -149.0, -14.0), 4.0),
    ),
)


def hand() -> tuple[Tube, ...]:
    """Return the bones of the hand, from the carpus to the finger tips."""
    carpus = [Tube(a, b, _scaled(_OVAL, 1.13 * w), 1.1, 0.6, (5.5, 5.5)) for a, b, w in _CARPUS]
    rays: list[Tube] = []
    for ray in _RAYS:
        base, head, width = ray[0]
        rays.append(Tube(base, head, _scaled(_METACARPAL, width), 0.95, 2.1, (2.5, 5.0)))
        for base, head, width in ray[1:-1]:
            rays.append(Tube(base, head, _scaled(_PHALANX, width), 0.8, 1.6, (2.0, 3.0)))
        base, head, width = ray[-1]
        rays.append(Tube(base, head, _scaled(_TIP, width), 0.7, 1.0, (1.8, 2.5)))
    return (*carpus, *rays)


def forearm() -> tuple[Tube, ...]:
    """Return the whole distal forearm."""
    return (_RADIUS, _STYLOID, _ULNA, _ULNAR_STYLOID)


def broken_wrist() -> tuple[Tube, ...]:
    """Return forearm and hand with a transverse fracture of the distal radius, shifted and tilted to the back."""
    offset, tilt = (-2.2, 1.2, 3.0), (0.6, 0.0, 1.4)
    by = (offset[0] + tilt[0], offset[1], offset[2] + tilt[2])
    carried = tuple(part.moved(by) for part in (_STYLOID, _ULNAR_STYLOID, *hand()))
    return (*fractured(_RADIUS, 23.0, 1.1, offset, tilt), _ULNA, *carried)


def flesh() -> tuple[Tube, ...]:
    """Return the soft tissue around forearm, palm and fingers."""
    arm = ((0.0, 25.0), (0.2, 28.0), (0.5, 33.0), (1.0, 42.0))
    palm = ((0.0, 26.0), (0.3, 31.0), (0.7, 38.0), (1.0, 34.0))
    thenar = ((0.0, 12.0), (0.4, 15.0), (1.0, 11.0))
    hypothenar = ((0.0, 9.0), (0.5, 11.0), (1.0, 9.0))
    parts = (
        Tube((1.0, -42.0, 0.0), (1.0, 175.0, 0.0), arm, depth=0.8, caps=(45, 1)),
        Tube((2.0, 22.0, 0.0), (4.0, -118.0, -1.0), palm, depth=0.4, caps=(30, 34)),
        Tube((-12.0, -8.0, -10.0), (-44.0, -78.0, -17.0), thenar, depth=1.0, caps=(9, 9)),
        Tube((16.0, -6.0, -8.0), (28.0, -78.0, -6.0), hypothenar, depth=1.0, caps=(9, 9)),
    )
    return (*parts, *(_finger(ray[1][0], ray[-1][1], 2.6 * ray[-1][2] ** 0.78) for ray in _RAYS))


def _finger(base: Point, tip: Point, width: float) -> Tube:
    along = (tip[0] - base[0], tip[1] - base[1], tip[2] - base[2])
    start = (base[0] - 0.2 * along[0], base[1] - 0.2 * along[1], base[2] - 0.2 * along[2])
    end = (tip[0] + 0.06 * along[0], tip[1] + 0.06 * along[1], tip[2] + 0.06 * along[2])
    profile = ((0.0, 1.15), (0.3, 1.05), (0.5, 1.0), (0.75, 0.9), (1.0, 0.72))
    return Tube(start, end, _scaled(profile, width), depth=0.9, caps=(4, 7))


def _scaled(profile: tuple[tuple[float, float], ...], width: float) -> tuple[tuple[float, float], ...]:
    return tuple((share, half * width) for share, half in profile)
