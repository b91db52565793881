"""Four kinds of vehicles as parts: airplane, car, motorcycle, vessel; see ``furniture``."""

from __future__ import annotations

from pipelines.sources.scenes.furniture import Draw, Parts, choose
from pipelines.sources.scenes.parts import ball, beam, box, rod


def airplane(draw: Draw) -> Parts:
    """A fuselage with nose and tail, swept or straight wings, a tail plane, jets or propellers."""
    radius, half, tall = draw(0.05, 0.085), draw(0.4, 0.5), draw(0.14, 0.22)
    nose = draw(0.08, 0.2)
    parts = [
        rod((0, 0, nose - half), (0, 0, 0.45 * half), radius),
        ball((0, 0, nose - half), (radius, radius, nose)),
        rod((0, 0, 0.45 * half), (0, 0.3 * radius, half), radius, 0.3),
    ]
    span, chord, sweep = draw(0.36, 0.58), draw(0.08, 0.14), draw(-0.02, 0.3)
    place, high = draw(-0.15, 0.05), draw(-0.7, 0.8) * radius
    for side in (-1, 1):
        root, tip = (0.3 * side * radius, high, place), (side * span, high + draw(0, 0.06), place + sweep)
        parts.append(beam(root, tip, (0, 0, chord), (0, 0.022, 0), draw(0.3, 0.8)))
        lift = tall * (0.9 if draw(0, 1) < 0.3 else 0.1)
        end = (0.4 * side * span, lift, half - 0.02 + 0.4 * sweep)
        parts.append(beam((0, lift, half - 0.06), end, (0, 0, 0.55 * chord), (0, 0.018, 0), 0.6))
    fin = (0, tall, half + draw(0, 0.08))
    parts.append(beam((0, 0, half - 0.08), fin, (0, 0, 0.6 * chord), (0.018, 0, 0), 0.6))
    jets = choose(draw, 4)  # none, two, four, or two at the tail
    for side in (-1, 1):
        for share in ((), (0.38,), (0.3, 0.6), (0.0,))[jets]:
            x, z = side * share * span, place + share * sweep - 0.8 * chord
            y = high - 0.045
            if jets == 3:
                x, y, z = side * (radius + 0.04), 0.5 * radius, 0.45 * half
            parts.append(rod((x, y, z - 0.03), (x, y, z + draw(0.08, 0.13)), draw(0.03, 0.042), 0.8))
    if jets == 0:  # a propeller
        reach, front = draw(0.1, 0.18), -half - 0.01
        parts.append(beam((-reach, 0, front), (reach, 0, front), (0, 0.018, 0), (0, 0, 0.01)))
    return parts


def car(draw: Draw) -> Parts:
    """A body with a cabin (saloon, estate, van or pick-up) on four wheels, with lights and bumpers."""
    length, width, height = draw(0.95, 1.25), draw(0.4, 0.5), draw(0.14, 0.22)
    wheel, build = draw(0.085, 0.12), choose(draw, 4)
    floor = 0.8 * wheel
    parts = [box((0, floor + height / 2, 0), (width, height, length), draw(0.88, 0.98))]
    start, end = ((-0.2, 0.25), (-0.22, 0.46), (-0.4, 0.47), (-0.2, 0.1))[build]
    start, end = start + draw(-0.04, 0.04), end + draw(-0.04, 0.02)
    tall, middle = draw(0.13, 0.2) * (1.5 if build == 2 else 1), (start + end) / 2 * length
    size = (0.94 * width, tall, (end - start) * length)
    parts.append(box((0, floor + height + tall / 2, middle), size, draw(0.6, 0.75) if build < 2 else 0.88))
    if build == 3:  # the sides of a pick-up's bed
        for side in (-1, 1):
            center = (side * 0.45 * width, floor + height + 0.04, 0.3 * length)
            parts.append(box(center, (0.04, 0.08, 0.4 * length)))
    if draw(0, 1) < 0.25:
        parts.append(box((0, floor + height + 0.06, 0.46 * length), (0.8 * width, 0.03, 0.08)))  # a spoiler
    for z in (-draw(0.28, 0.34) * length, draw(0.28, 0.34) * length):
        for side in (-1, 1):
            x = side * width / 2
            parts.append(rod((x - 0.05 * side, wheel, z), (x + 0.02 * side, wheel, z), wheel))
            parts.append(rod((x, wheel, z), (x + 0.03 * side, wheel, z), 0.5 * wheel))
    for side in (-1, 1):
        light = (side * 0.36 * width, floor + 0.6 * height, -length / 2)
        parts.append(ball(light, (0.045, 0.04, 0.04)))
    for z in (-length / 2, length / 2):
        parts.append(box((0, floor + 0.1 * height, z), (0.96 * width, 0.05, 0.06)))
    return parts


def motorcycle(draw: Draw) -> Parts:
    """Two wheels, a fork, a frame with engine, tank, seat and exhaust, perhaps a fairing and bags."""
    front, back = draw(0.19, 0.25), draw(0.19, 0.25)
    base, tread = draw(0.36, 0.46), draw(0.03, 0.05)
    parts = []
    for z, radius in ((-base, front), (base, back)):
        parts.append(rod((-tread, radius, z), (tread, radius, z), radius))
        parts.append(rod((-tread - 0.03, radius, z), (tread + 0.03, radius, z), draw(0.04, 0.12)))
    head = (0, draw(0.55, 0.68), -base + draw(0.12, 0.24))
    for side in (-1, 1):
        x = side * (tread + 0.035)
        parts.append(rod((x, front, -base), (x, head[1], head[2]), 0.022))
        parts.append(rod((x, back, base), (0.3 * x, 0.42, 0.05), 0.022))
    bar = draw(0.2, 0.32)
    high = head[1] + draw(0.02, 0.14)
    parts.append(rod((-bar, high, head[2] + 0.08), (bar, high, head[2] + 0.08), 0.022))
    parts.append(ball((0, head[1] - 0.02, head[2] - 0.08), (0.07, 0.07, 0.06)))  # the lamp
    parts.append(box((0, 0.28, 0), (0.15, draw(0.18, 0.26), draw(0.24, 0.36)), draw(0.7, 1)))  # the engine
    tank = draw(0.12, 0.18)
    parts.append(ball((0, 0.5, -0.1), (draw(0.08, 0.12), draw(0.09, 0.12), tank)))
    seat = draw(0.16, 0.28)
    parts.append(box((0, 0.48, 0.05 + seat), (0.15, draw(0.06, 0.1), 2 * seat), 0.85))
    pipes = draw(0.2, 0.4)
    for side in (-1, 1) if draw(0, 1) < 0.5 else (1,):
        parts.append(rod((0.1 * side, 0.16, -0.05), (0.11 * side, 0.2, base * 0.6 + pipes), 0.035, 1))
    if draw(0, 1) < 0.35:  # a fairing
        parts.append(
            beam((0, 0.42, head[2]), (0, high + 0.12, head[2] + 0.05), (0.14, 0, 0), (0, 0, 0.04), 0.6)
        )
    if draw(0, 1) < 0.3:  # bags
        for side in (-1, 1):
            parts.append(box((side * 0.15, 0.4, base), (0.12, 0.2, 0.26), 0.9))
    return parts


def vessel(draw: Draw) -> Parts:
    """A hull with a superstructure and funnels, containers, or a mast with sails."""
    half, width, deep = draw(0.45, 0.65), draw(0.1, 0.17), draw(0.1, 0.18)
    build = choose(draw, 3)
    if build == 2 or draw(0, 1) < 0.4:
        parts = [ball((0, 0, 0), (width, deep, half), 0)]
    else:  # a keel that narrows downward and a bow that narrows forward
        parts = [beam((0, 0, 0.1), (0, -deep, 0.1), (width, 0, 0), (0, 0, half - 0.1), draw(0.6, 0.9))]
        parts.append(
            beam((0, -deep / 2, 0.2 - half), (0, -deep / 3, -half), (width, 0, 0), (0, deep / 2, 0), 0.1)
        )
    parts.append(box((0, 0.01, 0.05), (1.4 * width, 0.03, 1.3 * half)))  # the deck
    if build == 2:
        tall, boom = draw(0.6, 1.1), draw(0.3, 0.42)
        parts.append(rod((0, 0, -0.05), (0, tall, -0.05), 0.02))
        aft = (0, 0.1, -0.03 + boom / 2)
        parts.append(beam(aft, (0, tall, -0.03), (0, 0, boom / 2), (0.012, 0, 0), 0.05))
        if draw(0, 1) < 0.7:
            fore = (0, 0.06, -0.08 - boom / 2)
            parts.append(beam(fore, (0, draw(0.6, 0.9) * tall, -0.07), (0, 0, boom / 2), (0.012, 0, 0), 0.05))
        parts.append(box((0, 0.05, 0.22), (width, 0.08, draw(0.15, 0.3)), 0.8))
        return parts
    place, house = draw(-0.2, 0.35) * half, draw(0.15, 0.45) * half
    level, decks = 0.02, 1 + choose(draw, 4)
    for deck in range(decks):
        rise, share = draw(0.05, 0.08), 1 - 0.16 * deck
        parts.append(box((0, level + rise / 2, place), (1.5 * width * share, rise, 2 * house * share)))
        level += rise
    for funnel in range(choose(draw, 4)):
        z = place + (funnel - 1) * 0.35 * house
        parts.append(rod((0, level, z), (0, level + draw(0.08, 0.14), z + 0.02), draw(0.025, 0.045), 0.8))
    if build == 1:  # containers or hatches on deck
        for z in (-0.55, -0.35, 0.7):
            tall = draw(0.04, 0.12)
            parts.append(box((0, 0.02 + tall / 2, z * half), (1.3 * width, tall, 0.14 * half)))
    if draw(0, 1) < 0.6:
        z = draw(-0.6, 0.6) * half
        parts.append(rod((0, 0, z), (0, draw(0.25, 0.45), z), 0.02))
    return parts
