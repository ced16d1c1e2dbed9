"""Scales from frame to frame: what a person writes, and what each frame gets."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from still_moving.adapters.frame_scales import FrameScales, parse_key_frames, simplest
from still_moving.adapters.scale_schedule import CURVES, Curve, ScaleSchedule
from still_moving.common.errors import UserError

scales = st.integers(-8, 8).map(lambda n: n / 4)
keyed = st.dictionaries(st.integers(0, 20).map(float), scales, min_size=1).map(
    lambda keys: tuple(sorted(keys.items()))
)
curves = st.sampled_from(CURVES)


def at(text: str, total: int, curve: Curve = "linear", progress: float = 0.5) -> list[float]:
    return parse_key_frames(text, curve).at(progress, range(total), total)


@given(keys=keyed, curve=curves)
def test_a_key_frame_has_its_scale_and_between_two_it_lies_between(keys, curve):
    made = FrameScales(keys, False, curve).at(0.5, range(25), 25)
    for place, scale in keys:
        assert made[int(place)] == scale
    assert made[: int(keys[0][0])] == [keys[0][1]] * int(keys[0][0])
    assert set(made[int(keys[-1][0]) :]) == {keys[-1][1]}
    assert all(
        min(a, b) <= scale <= max(a, b)
        for (begun, a), (done, b) in pairwise(keys)
        for scale in made[int(begun) : int(done) + 1]
    )


def test_the_curves():
    text = "0: 0\n4: 1"
    assert at(text, 6) == [0, 0.25, 0.5, 0.75, 1, 1]
    assert at(text, 6, "step") == [0, 0, 0, 0, 1, 1]
    assert at(text, 6, "smooth") == pytest.approx([0, 0.1464, 0.5, 0.8536, 1, 1], abs=1e-4)


def test_percent_is_of_the_clip_and_frames_are_of_the_whole_clip():
    assert at("0%: 1\n50%: 1\n100%: -1", 5) == [1, 1, 1, 0, -1]
    halves = parse_key_frames("0%: 0\n100%: 1", "linear")
    assert halves.at(0.5, [8, 4, 0], 9) == [1, 0.5, 0]  # a window's frames, in its own order
    assert halves.at(0.5, [0], 1) == [0]


@pytest.mark.parametrize(
    "text", ["0: 1, 8: -0.5", '"0": (1.0),\n"8" : (-.5)', "0: 1 # still\n\n8 = -0.5,\n"]
)
def test_key_frames_as_people_and_other_packs_write_them(text):
    assert parse_key_frames(text, "linear").keys == ((0, 1), (8, -0.5))


def test_scales_alone_are_those_of_each_frame():
    assert at("1, 0.5\n-1", 5) == [1, 0.5, -1, -1, -1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no key frame"),
        ("0: 1\nhalf: 2", "'half: 2'.*'8: 0.5'"),
        ("0: 1, 50%: 0", "in frames and in percent"),
        ("8: 1\n8: 2", "8 after 8"),
        ("0%: 1\n120%: 0", "at 120%.*0% to 100%"),
        ("0.5: 1", "at 0.5.*whole frames"),
        ("1, 2, 3: 1", "'1'"),
    ],
)
def test_what_cannot_be_read_is_named(text, said):
    with pytest.raises(UserError, match=said):
        parse_key_frames(text, "linear")


@given(first=keyed, second=keyed, curve=curves, progress=st.floats(0.01, 0.99))
def test_scales_multiply_with_those_of_steps_and_of_frames(first, second, curve, progress):
    steps = ScaleSchedule(0.5, -1.0)
    one, two = FrameScales(first, False, curve, steps), FrameScales(second, True)
    both = FrameScales(second, True, times=one)
    product = [
        a * b
        for a, b in zip(one.at(progress, range(9), 9), two.at(progress, range(9), 9), strict=True)
    ]
    assert both.at(progress, range(9), 9) == pytest.approx(product)
    alone = FrameScales(first, False, curve).at(progress, range(9), 9)
    stepped = one.at(progress, range(9), 9)
    assert stepped == pytest.approx([steps.at(progress) * scale for scale in alone])


@given(keys=keyed, curve=curves, progress=st.floats(0.01, 0.99), factor=scales)
def test_the_simplest_form_is_the_same_scale(keys, curve, progress, factor):
    for times in (None, ScaleSchedule(0.5, -1.0), ScaleSchedule(factor, factor)):
        scale = FrameScales(keys, False, curve, times)
        plain = simplest(scale)
        if isinstance(plain, ScaleSchedule):
            made = [plain.at(progress)] * 9
        elif isinstance(plain, FrameScales):
            made = plain.at(progress, range(9), 9)
        else:
            made = [plain] * 9
        assert made == pytest.approx(scale.at(progress, range(9), 9))


def test_what_is_the_same_for_all_frames_and_steps_is_a_number():
    flat, rising = ScaleSchedule(0.5, 0.5), ScaleSchedule(0.0, 1.0)
    constant = FrameScales(((0, 2.0), (9, 2.0)))
    changing = FrameScales(((0, 2.0), (9, 1.0)))
    assert simplest(constant) == 2.0
    assert simplest(flat) == 0.5
    assert simplest(FrameScales(constant.keys, times=flat)) == 1.0
    assert simplest(FrameScales(constant.keys, times=rising)) == ScaleSchedule(0.0, 2.0)
    assert simplest(FrameScales(changing.keys, times=flat)) == FrameScales(((0, 1.0), (9, 0.5)))
    assert simplest(FrameScales(changing.keys, times=ScaleSchedule(0, 0))) == 0
