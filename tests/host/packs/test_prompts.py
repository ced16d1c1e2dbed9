"""Prompts that change from frame to frame (FizzNodes), and KJNodes around our MODELs."""

import pytest
import torch

from helpers.host.graph import PROMPT, Graph, close

FRAMES = 8
OTHER = "blue square up fog"
fizz = pytest.mark.pack("FizzNodes")
kj = pytest.mark.pack("KJNodes")


def scheduled(graph: Graph, schedule: str | list) -> dict[str, list]:
    """Both conditions of FizzNodes' schedule."""
    conds = graph.add(
        "BatchPromptSchedule",
        text=schedule,
        clip=graph.world[2],
        max_frames=FRAMES,
        print_output=False,
        pre_text="",
        app_text="",
        start_frame=0,
        end_frame=FRAMES,
    )
    return {"positive": conds[0], "negative": conds[1]}


def clip(server, build, schedule: str | None = None) -> torch.Tensor:
    graph = Graph()
    model = build(graph)
    conds = scheduled(graph, schedule) if schedule else {"positive": graph.text(PROMPT)}
    return graph.latents(server, graph.sample(model, frames=FRAMES, **conds))


TRAVEL = f'"0": "{PROMPT}", "{FRAMES - 1}": "{OTHER}"'


@fizz
def test_a_schedule_of_one_prompt_is_that_prompt(crowd):
    same = f'"0": "{PROMPT}", "{FRAMES - 1}": "{PROMPT}"'
    expected = clip(crowd, lambda g: g.moving())
    close(clip(crowd, lambda g: g.moving(), same), expected)


@fizz
def test_prompts_travel_with_motion_and_in_windows(crowd):
    moving = clip(crowd, lambda g: g.moving(), TRAVEL)
    assert (moving - clip(crowd, lambda g: g.moving())).norm() > 0.01 * moving.norm()
    drawn = clip(crowd, lambda g: g.world[0], TRAVEL)
    assert (moving - drawn).norm() > 0.01 * moving.norm()
    windowed = clip(crowd, lambda g: g.windowed(g.world[0]), TRAVEL)
    close(windowed, drawn)  # frames are drawn one by one
    assert clip(crowd, lambda g: g.windowed(g.moving()), TRAVEL).isfinite().all()


@fizz
@kj
def test_a_schedule_that_kjnodes_scales_is_one(crowd):
    graph = Graph()
    scaled = graph.add(
        "ScaleBatchPromptSchedule",
        input_str=f'"0": "{PROMPT}", "15": "{OTHER}"',
        old_frame_count=16,
        new_frame_count=FRAMES,
    )
    conds = scheduled(graph, scaled[0])
    made = graph.latents(crowd, graph.sample(graph.moving(), frames=FRAMES, **conds))
    assert torch.equal(made, clip(crowd, lambda g: g.moving(), TRAVEL))


AROUND = {
    "ModelPassThrough": {},
    "ModelMemoryUsageFactorOverride": {"memory_usage_factor": 0.5},
    "ModelPatchTorchSettings": {"enable_fp16_accumulation": False},
}


@kj
@pytest.mark.parametrize("kind", AROUND)
@pytest.mark.parametrize("before", [True, False])
def test_a_node_of_kjnodes_around_ours_changes_nothing(crowd, kind, before):
    def around(graph: Graph, model: list) -> list:
        return graph.add(kind, model=model, **AROUND[kind])[0]

    made = clip(
        crowd, lambda g: g.moving(around(g, g.world[0])) if before else around(g, g.moving())
    )
    assert torch.equal(made, clip(crowd, lambda g: g.moving()))


@kj
@pytest.mark.night  # it compiles on a CPU
@pytest.mark.parametrize("before", [True, False])
def test_a_model_that_kjnodes_compiles_moves_as_ours_does(crowd, before):
    def compiled(graph: Graph, model: list) -> list:
        return graph.add(
            "TorchCompileModelAdvanced",
            model=model,
            backend="inductor",
            fullgraph=False,
            mode="default",
            dynamic="false",
            compile_transformer_blocks_only=True,
            dynamo_cache_size_limit=64,
            debug_compile_keys=False,
        )[0]

    clip(crowd, lambda g: compiled(g, g.world[0]))  # graphs without hooks are there already
    made = clip(
        crowd, lambda g: g.moving(compiled(g, g.world[0])) if before else compiled(g, g.moving())
    )
    close(made, clip(crowd, lambda g: g.moving()))
