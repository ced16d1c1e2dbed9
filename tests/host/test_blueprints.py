"""The subgraph blueprints: ComfyUI offers them, and the editor opens each as an artist does."""

import json
import urllib.error

import pytest

from helpers.host.live import PACK, ROOT

FOLDER = ROOT / "subgraphs"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
CUSTOMIZE = "Still-Moving Customize"
CONNECT = """() => {  // the shapes world before it, a clip behind it
  const make = (type, widgets = {}) => {
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    for (const [name, value] of Object.entries(widgets))
      node.widgets.find(w => w.name === name).value = value;
    return node;
  };
  const [host] = app.graph.nodes;
  const world = make("StillMovingLoadShapesWorld");
  const wires = { model: 1, clip: 2, vae: 3, plain_model: 0, plain_clip: 2 };
  for (const [name, slot] of Object.entries(wires)) {
    const input = host.findInputSlot(name);
    if (input >= 0) world.connect(slot, host, input);
  }
  for (const [name, value] of Object.entries({ length: 8, overlap: 2 })) {
    const widget = host.widgets.find(w => w.name === name);
    if (widget) widget.value = value;
  }
  const into = (source, slot, node, name) => source.connect(slot, node, node.findInputSlot(name));
  const [prompt, empty] = ["red circle left sks", ""].map(text => make("CLIPTextEncode", { text }));
  const size = make("EmptyLatentImage", { width: 128, height: 128, batch_size: 12 });
  const sampler = make("KSampler", { steps: 2, cfg: 1.5, seed: 1 });
  const [decoded, saved] = [make("VAEDecode"), make("SaveAnimatedWEBP")];
  for (const node of [prompt, empty]) into(world, 2, node, "clip");
  into(host, 0, sampler, "model");
  into(prompt, 0, sampler, "positive");
  into(empty, 0, sampler, "negative");
  into(size, 0, sampler, "latent_image");
  into(sampler, 0, decoded, "samples");
  into(world, 3, decoded, "vae");
  into(decoded, 0, saved, "images");
}"""
SPATIAL, MOTION = "StillMovingTrainSpatialAdapter", "StillMovingTrainMotionAdapter"
FEW = {"steps": 2, "count": 2, "frames": 8, "width": 128, "height": 128}  # of what it draws
SHORT = {"preset": "shapes world", "steps": 1, "rank": 0, "lr": 0, "frames": 8}


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "nodes-2.0"])
def opened(request, browser):
    with browser.open(nodes_2=request.param) as page:
        yield page


@pytest.fixture
def placed(opened, request):
    """The editor with one blueprint in it, searched for by its name."""
    page = opened.page
    page.evaluate("app.loadGraphData({nodes: [], links: [], version: 0.4})")
    page.wait_for_function("app.graph.nodes.length === 0")
    opened.errors.clear()
    page.evaluate("app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    page.keyboard.type(request.param)
    dialog.get_by_text("Blueprint", exact=True).first.wait_for()
    page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    page.mouse.click(700, 300)
    page.wait_for_function("app.graph.nodes.length === 1")
    yield opened
    assert opened.errors == []


each = pytest.mark.parametrize("placed", NAMES, indirect=True)


def only(prompt: dict, kind: str) -> tuple[str, dict]:
    """The one node of a prompt that is of a kind: its id and its inputs."""
    ((number, it),) = ((n, it) for n, it in prompt.items() if it["class_type"] == kind)
    return number, it["inputs"]


@pytest.mark.every_comfyui
def test_comfyui_offers_them_under_their_names_where_it_knows_blueprints(server, comfyui):
    if not (comfyui / "app" / "subgraph_manager.py").is_file():
        with pytest.raises(urllib.error.HTTPError, match="404"):
            server.get("/global_subgraphs")
        return
    entries = server.get("/global_subgraphs")
    ours = {id: it["name"] for id, it in entries.items() if PACK in it["info"]["node_pack"]}
    assert sorted(ours.values()) == NAMES == [CUSTOMIZE, *NAMES[1:]]
    for id, name in ours.items():
        served = json.loads(server.get(f"/global_subgraphs/{id}")["data"])
        assert served == json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def test_no_copy_has_the_jobs_of_another():
    for name in NAMES:
        assert "uid" not in (FOLDER / f"{name}.json").read_text(encoding="utf-8"), name


@each
def test_the_search_finds_it_and_it_runs(placed, server, request):
    placed.page.evaluate(CONNECT)
    prompt = placed.api_form()
    ran = server.run(prompt)
    saved, _ = only(prompt, "SaveAnimatedWEBP")
    if CUSTOMIZE in request.node.name:  # nothing is trained, so nothing is drawn
        assert "images" not in ran.get(saved, {})
        assert "press Train" in str(ran)
    else:
        assert ran[saved]["images"]


@pytest.mark.parametrize("placed", [CUSTOMIZE], indirect=True)
def test_train_above_it_begins_both_trainings(placed, server):
    placed.page.evaluate(CONNECT)
    sent: list[dict] = []

    def take(route) -> None:
        sent.append(json.loads(route.request.post_data or ""))
        route.fulfill(json={"prompt_id": "p1", "number": 1, "node_errors": {}})

    placed.page.route("**/api/prompt", take)
    placed.page.evaluate("app.canvas.select(app.graph.nodes[0])")
    placed.page.get_by_role("button", name="Train", exact=True).first.click()
    placed.page.wait_for_timeout(1000)
    placed.page.unroute("**/api/prompt")
    prompt, (target,) = sent[0]["prompt"], sent[0]["partial_execution_targets"]
    (spatial, takes), (motion, _) = only(prompt, SPATIAL), only(prompt, MOTION)
    assert target == spatial
    assert takes["motion_adapter"] == [motion, 0]
    for node in prompt.values():
        few = SHORT if node["class_type"] in (SPATIAL, MOTION) else FEW
        node["inputs"] |= {k: v for k, v in few.items() if k in node["inputs"]}
    ran = server.run({n: it for n, it in prompt.items() if it["class_type"] != "SaveAnimatedWEBP"})
    ids = [ran[number]["still_moving_job"][0] for number in (motion, spatial)]
    assert server.get(f"/still_moving/jobs/{ids[1]}")["waits_for"]["id"] == ids[0]
    for id in reversed(ids):
        server.delete(f"/still_moving/jobs/{id}")
