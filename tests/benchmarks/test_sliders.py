"""The sliders' benchmark: what is sampled is what the help pages speak of."""

import re

import torch

from helpers.texts import text_of
from still_moving.adapters.scale_schedule import PRESETS, ScaleSchedule
from still_moving.benchmarks.common.results_page import TABLES
from still_moving.benchmarks.sliders.run import (
    GROUPS,
    LAST,
    ON_STYLE,
    TITLES,
    Setting,
    every_part,
    network,
    report,
)
from still_moving.training.network.unet import predict

CPU = torch.device("cpu")


def test_the_schedules_that_the_page_proposes_are_the_measured_ones():
    cells = re.findall(
        r"\| \*(.+)\* \| .* \| (Motion|Spatial) \| (\S+) \| (\S+) \| (\S+) \| (\S+) \|",
        text_of("StillMovingScaleSchedule"),
    )
    proposed = {
        (adapter, ScaleSchedule(float(start), float(end), "linear", float(begun), float(done)))
        for _, adapter, start, end, begun, done in cells
    }
    assert {PRESETS[name] for name, *_ in cells} == {scale for _, scale in proposed}
    measured = {
        (adapter, scale)
        for setting in GROUPS["Scale Schedule"].values()
        for adapter, scale in (("Motion", setting.motion), ("Spatial", setting.spatial))
        if isinstance(scale, ScaleSchedule)
    }
    assert proposed == measured
    assert len(proposed) == 3


def test_the_preset_of_a_paper_has_the_papers_numbers():
    page = " ".join(text_of("StillMovingScaleSchedule").split())
    said = re.search(r"([\d.]+) in the first (\d+) of (\d+) steps and ([\d.]+) from there", page)
    assert said is not None
    first, steps, of, then = map(float, said.groups())
    look_late = PRESETS["look late"]
    scales = [look_late.at((i + 0.5) / of) for i in range(int(of))]
    assert scales == [first] * int(steps) + [then] * int(of - steps)


def test_scales_follow_the_schedule_as_sampling_goes_on():
    rising = ScaleSchedule(0.0, 1.0, "linear", 0.0, 1.0)
    noisy = torch.randn(1, 4, 2, 4, 4, generator=torch.Generator().manual_seed(0))

    def predicted(timestep: int, setting: Setting) -> torch.Tensor:
        with torch.no_grad():
            unet = network(setting, CPU).unet
            return predict(unet, noisy, torch.tensor([timestep]), torch.ones(1, 6, 64))

    for timestep, scale in ((LAST, 0.0), (0, 1.0)):
        steady = predicted(timestep, Setting(scale, scale))
        assert torch.equal(predicted(timestep, Setting(rising, rising)), steady)
        assert not torch.equal(predicted(timestep, Setting(1 - scale, scale)), steady)
        assert not torch.equal(predicted(timestep, Setting(scale, 1 - scale)), steady)


def test_every_part_has_its_line_and_a_line_tells_its_mean():
    clip = dict.fromkeys(TITLES, 0.5)
    rows = []
    for name in every_part(1, CPU):
        group, _, setting = name.partition("-")
        if group == "refine":
            rows.append({"group": group, "setting": setting, "error": 0.25})
        for group, settings in GROUPS.items():
            rows += [
                {"group": group, "setting": s, **clip} for s in settings if name == f"{group}-{s}"
            ]
    text = report(rows, 1, {"commit": "abc", "seconds": 1})
    assert text.count("| 0.500 ± 0.000 | 0.000 ± 0.000 | 0.000 ± 0.000 |\n") == sum(
        map(len, GROUPS.values())
    )
    assert "nan" not in text


TABLE = (TABLES / "sliders.md").read_text(encoding="utf-8")


def test_the_page_of_invert_clip_says_what_the_table_says():
    errors = dict(re.findall(r"\| refine (\d+), [^|]*\| (\S+) ", TABLE))
    page = " ".join(text_of("StillMovingInvertClip").split())
    said = re.search(r"(\d+) is plain .* (\d+) comes .* (\d+) % in place of (\d+) %", page)
    assert said is not None
    plain, refined, after, before = said.groups()
    assert [int(after), int(before)] == [round(100 * float(errors[n])) for n in (refined, plain)]


def test_the_scale_that_the_spatial_adapters_page_advises_is_truer_than_the_trained_one():
    page = " ".join(text_of("StillMovingApplySpatialAdapter").split())
    (scale,) = re.findall(r"lower the scale to ([\d.]+)\. On the shapes world's style", page)
    group = TABLE.split(f"**{ON_STYLE}**")[1].split("**")[0]
    (line,) = (line for line in group.splitlines() if line.startswith(f"| {scale} |"))
    more, error = map(float, line.split(" | ")[-2].split(" ± "))
    assert more > error
