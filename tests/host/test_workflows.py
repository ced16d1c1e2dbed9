"""The example workflows: every one opens, says the same in both forms, and runs as it is."""

import copy
import re

import pytest
from PIL import Image

from helpers.host.examples import NAMES, ONE_PRESS, TRAINING, api_form, picture, ui_form
from helpers.host.training_graph import ended

pytestmark = pytest.mark.every_comfyui

FEW_STEPS = 2
TITLE = 30  # above a node's position
TRAINED = 760  # height of a trainer with its adapter, curve and samples, in either mode
workflow = pytest.mark.parametrize("name", NAMES)


def without_titles(prompt: dict) -> dict:
    """An API form as /prompt reads it: ``_meta`` is for people, and differs between versions.

    The names that trainers have on a page are left out as well.
    """
    return {
        number: {
            "class_type": node["class_type"],
            "inputs": {k: v for k, v in node["inputs"].items() if k != "node_uid"},
        }
        for number, node in prompt.items()
    }


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "nodes-2.0"])
def page(request, browser, comfyui):
    """The editor, once in each mode."""
    if request.param and not browser.has_nodes_2:
        pytest.skip("Nodes 2.0 is a prototype in this frontend: it has no widgets of packs")
    with browser.open(nodes_2=request.param) as opened:
        yield opened


def test_there_is_one_for_each_feature():
    assert set(NAMES) >= {
        "motion_slider",
        "customized_clip",
        "style_and_controlnet",
        "long_clip",
        "combine_with_lora",
        "customize_a_video",
        "vmc",
        "newmove",
        TRAINING,
        ONE_PRESS,
    }


@workflow
def test_it_has_a_picture_and_says_what_to_swap(name):
    with Image.open(picture(name)) as image:
        assert image.format == "JPEG"
        assert min(image.size) >= 600
    notes = [n["widgets_values"][0] for n in ui_form(name)["nodes"] if n["type"] == "MarkdownNote"]
    assert re.search(r"\w+\.(safetensors|ckpt|pth)", " ".join(notes))


@workflow
def test_a_trainer_has_room_to_grow(name):
    """Within its group and above what is below, for when its job has ended."""
    form = ui_form(name)
    for trainer in (n for n in form["nodes"] if n["type"].startswith("StillMovingTrain")):
        (left, top), (width, _) = trainer["pos"], trainer["size"]
        others = [(*n["pos"], n["size"][0]) for n in form["nodes"] if n is not trainer]
        below = [y - TITLE for x, y, w in others if y > top and x < left + width and left < x + w]
        groups = [group["bounding"] for group in form["groups"]]
        around = [y + h for x, y, w, h in groups if x <= left < x + w and y <= top < y + h]
        assert min([*below, *around], default=top + TRAINED) >= top + TRAINED


@pytest.mark.parametrize("name", sorted(set(NAMES) - {TRAINING, ONE_PRESS}))
def test_it_runs_and_its_outputs_exist(server, name):
    prompt = quickly(api_form(name))
    before = len(server.log.read_bytes())  # other tests' warnings stand there
    outputs = server.run(prompt)
    saved = [n for n, node in prompt.items() if node["class_type"] == "SaveAnimatedWEBP"]
    assert saved
    assert set(saved) <= set(outputs)
    for number in saved:
        (path,) = server.output_files({number: outputs[number]})
        with Image.open(path) as clip:
            assert clip.n_frames == frames_of(prompt)
    assert all(path.stat().st_size for path in server.output_files(outputs))
    assert b"Still-Moving:" not in server.log.read_bytes()[before:]  # a warning of the pack


@pytest.mark.parametrize("name", ["customize_a_video", "vmc", "newmove"])
def test_the_clips_of_a_method_need_no_training(name):
    prompt = api_form(name)
    trainer = trainer_of(prompt)
    reads = {v[0] for node in prompt.values() for v in node["inputs"].values() if is_wire(v)}
    assert trainer not in reads  # the shipped file is what makes the clips
    (shipped,) = (
        node["inputs"]["file"]
        for node in prompt.values()
        if node["class_type"].startswith(("StillMovingApplyMotionA", "StillMovingApplyMotionW"))
    )
    assert shipped.startswith("demo: ")


@pytest.mark.parametrize("name", ["customize_a_video", "vmc", "newmove"])
def test_a_press_of_train_begins_the_methods_job(server, name):
    prompt = api_form(name)
    trainer = trainer_of(prompt)
    # Only this branch, as the button asks for; one step each shows that its inputs fit.
    prompt[trainer]["inputs"] |= {"run_token": f"example {name}", "node_uid": name}
    prompt[trainer]["inputs"] |= {"steps": 1, "appearance_steps": 1}
    (id,) = server.run(branch(prompt, trainer))[trainer]["still_moving_job"]
    assert ended(server, id)["phase"] == "finished"


@pytest.mark.parametrize("name", [TRAINING, ONE_PRESS])
def test_a_run_of_a_training_workflow_says_what_to_press(server, name):
    prompt = api_form(name)
    outputs = server.run(prompt)
    # The second trainer waits for the first one's adapter; nothing is drawn and nothing saved.
    notes = [shown.pop("still_moving_notes", []) for shown in outputs.values()]
    assert not any(notes)
    ((number, shown),) = ((number, shown) for number, shown in outputs.items() if shown)
    assert prompt[number]["class_type"] == "StillMovingTrainMotionAdapter"
    assert "press Train" in shown["text"][0]


def test_one_press_and_a_run_give_the_customized_clip(server):
    """The press begins both trainings, of one step each; the run takes what they have made."""
    prompt = api_form(ONE_PRESS)
    kinds = {it["class_type"]: number for number, it in prompt.items()}
    motion, spatial = (kinds[f"StillMovingTrain{kind}Adapter"] for kind in ("Motion", "Spatial"))
    for node in quickly(prompt).values():
        node["inputs"] |= {"count": 2} if "count" in node["inputs"] else {}
    for number in (motion, spatial):
        prompt[number]["inputs"] |= {"steps": 1, "node_uid": f"{ONE_PRESS} {number}"}
    run = copy.deepcopy(prompt)
    prompt[spatial]["inputs"]["run_token"] = ONE_PRESS
    begun = server.run(branch(prompt, spatial))
    for number in (motion, spatial):
        job = ended(server, begun[number]["still_moving_job"][0])
        assert job["phase"] == "finished", job["message"]
    saved = kinds["SaveAnimatedWEBP"]
    (path,) = server.output_files({saved: server.run(run)[saved]})
    with Image.open(path) as clip:
        assert clip.n_frames == frames_of(run)


def quickly(prompt: dict) -> dict:
    """The same with few steps of sampling; ``make workflows`` runs it as it is."""
    for node in prompt.values():
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = min(node["inputs"]["steps"], FEW_STEPS)
    return prompt


def frames_of(prompt: dict) -> int:
    """The clip's length that a prompt asks for: its longest empty latent or clip to follow."""
    lengths = {"EmptyLatentImage": "batch_size", "StillMovingClipSet": "frames"}
    inputs_and_lengths = [(n["inputs"], lengths.get(n["class_type"])) for n in prompt.values()]
    return max(inputs[name] for inputs, name in inputs_and_lengths if name)


def is_wire(value: object) -> bool:
    return isinstance(value, list)


def trainer_of(prompt: dict) -> str:
    """The node that trains."""
    (number,) = (n for n, it in prompt.items() if it["class_type"].startswith("StillMovingTrain"))
    return number


def branch(prompt: dict, number: str) -> dict:
    """A node, and all that it hangs on."""
    needed = [v[0] for v in prompt[number]["inputs"].values() if is_wire(v)]
    before = {n: it for source in needed for n, it in branch(prompt, source).items()}
    return before | {number: prompt[number]}


@workflow
def test_it_opens_in_the_editor_and_both_forms_agree(page, name):
    page.errors.clear()
    assert page.load(ui_form(name)) == []
    assert without_titles(page.api_form()) == without_titles(api_form(name))
    page.show_all()
    if page.nodes_2:
        assert page.drawn() == len(ui_form(name)["nodes"])
    assert page.overlaps() == []
    assert page.errors == []
