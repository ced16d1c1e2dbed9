"""Appearance absorbers of Customize-A-Video: what takes up a look, and what is left alone then."""

import re

import pytest
import torch

from helpers.reference_clips import (
    CAPTION,
    LOOK,
    RECIPES,
    SETS,
    WORDS,
    customize,
    new_job,
    new_training,
    write_sets,
)
from helpers.small import (
    CPU,
    differences,
    motion_module,
    new_unet,
    prediction,
    randomize,
    weights,
    write_files,
)
from helpers.small_files import random_pair
from still_moving.adapters.files.adapter import load_adapter
from still_moving.adapters.files.checkpoint import fingerprint, read_unet
from still_moving.adapters.files.embedding import load_embedding
from still_moving.adapters.files.image_lora import merge_image_lora, save_image_lora
from still_moving.adapters.files.motion_module import read_motion_module
from still_moving.adapters.files.tensors import read_tensors, write_tensors
from still_moving.common.errors import UserError
from still_moving.training.network.switch import TemporalSwitch
from still_moving.training.network.unet import build_unet
from still_moving.training.stage.loop import StageTraining
from still_moving.training.text.prompts import text_model
from still_moving.training.worker.failure import FINISHED, USER_ERROR
from still_moving.training.worker.results import export
from still_moving.training.worker.session import run_job
from still_moving.training.worker.stage_inputs import stage_inputs

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return {**write_files(folder), **write_sets(folder)}


def test_stage_two_leaves_the_absorbers_alone_and_exports_without_them(tmp_path, files):
    job = new_job(tmp_path / "job", customize(absorber="both", words=WORDS, steps=2), files)
    seen = {}

    def watch(event: dict) -> None:
        if event["event"] == "exported" and event["stage"] == 0:
            seen[event["file"]] = (job.exports / event["file"]).read_bytes()

    assert run_job(job, watch) == FINISHED
    assert sorted(seen) == ["made appearance words.safetensors", "made appearance.safetensors"]
    for name, content in seen.items():
        assert (job.exports / name).read_bytes() == content
    adapter = load_adapter(job.exports / "made.safetensors", kind="motion")
    assert adapter.info.fingerprint == fingerprint(weights().tensors)
    assert len(adapter.pairs) == 42
    assert all(".motion_modules." in layer for layer in adapter.pairs)
    embedding = load_embedding(job.exports / "made appearance words.safetensors")
    assert embedding.words == WORDS
    assert embedding.rows.shape == (3, 64)


def test_stage_two_trains_over_what_stage_one_was(tmp_path, files):
    """The absorber in the weights is the network that stage 1 ended with; nothing moves it."""
    recipe = customize()
    training = new_training(recipe)
    randomize(p for n, p in training.trainable.parameters.items() if n.endswith("up"))
    job = new_job(tmp_path / "job", recipe, files).load()
    read, module = read_unet(files["checkpoint"]), read_motion_module(files["motion_module"])
    export(tmp_path, training, job, read, module)
    ours = stage_inputs(job, 1, weights(), SETS, tmp_path, None)
    merged = build_unet(ours.weights, motion_module(), torch.float32, CPU)
    assert not torch.allclose(prediction(merged), prediction(new_unet()), atol=1e-3)
    TemporalSwitch(merged, on=False)
    assert torch.allclose(prediction(merged), prediction(training.unet), atol=1e-5)
    second = build_unet(ours.weights, motion_module(), torch.float32, CPU)
    stage_two = StageTraining(recipe, 1, second, weights().layout, ours.sets)
    before = {k: v.clone() for k, v in second.state_dict().items()}
    stage_two.advance()
    assert all("lora_" in name for name in differences(before, second.state_dict()))


def test_the_words_of_stage_one_are_read_in_stage_two(tmp_path, files):
    """Trained words change the caption's rows where they stand, and only there."""
    job = new_job(tmp_path / "job", customize(absorber="words", words=WORDS), files)
    assert run_job(job) == FINISHED
    loaded = job.load()
    sets = {"clip": SETS["clip"], "appearance": SETS["appearance"]}
    model = text_model(loaded, "shapes", sets)
    read = stage_inputs(loaded, 1, weights(), sets, job.exports, model).sets["clip"].items[0]
    plain = SETS["clip"].items[0]
    moved = [i for i in range(6) if not torch.equal(read.text[i], plain.text[i])]
    assert (read.caption, moved) == (CAPTION, [0, 1, 3])  # red, circle, night; never "zigzag"


def test_an_untrained_word_changes_nothing():
    training, plain = new_training(RECIPES["customize, both"]), new_training(RECIPES["customize"])
    first, other = training.advance(), plain.advance()
    assert (first.loss, training.items[0][0].caption) == (other.loss, LOOK)


@pytest.mark.slow
def test_a_third_partys_lora_stands_in_for_stage_one(tmp_path, files):
    first = new_job(tmp_path / "first", customize(), files)
    assert run_job(first) == FINISHED
    lora = first.exports / "made appearance.safetensors"
    adapters = {"adapters": {"appearance": str(lora)}}
    job = new_job(tmp_path / "job", customize(absorber="file"), files, **adapters)
    assert run_job(job) == FINISHED
    ours, theirs = (
        stage_inputs(folder.load(), i, weights(), SETS, folder.exports, None).weights.tensors
        for folder, i in ((job, 0), (first, 1))
    )
    assert differences(ours, theirs) == []
    assert len(differences(ours, dict(weights().tensors))) == 42
    lora.unlink()
    torn = new_job(tmp_path / "torn", customize(absorber="file"), files, **adapters)
    assert run_job(torn) == USER_ERROR


@pytest.mark.slow
def test_a_checkpoint_of_8_bits_is_trained_on_under_an_absorber(tmp_path, files):
    stored = {n: t.to(torch.float8_e4m3fn) for n, t in read_tensors(files["checkpoint"])[0].items()}
    write_tensors(tmp_path / "small.safetensors", stored, {})
    pairs = {"input_blocks.1.1.transformer_blocks.0.attn1.to_q": random_pair(64, 2, 0)}
    save_image_lora(tmp_path / "look.safetensors", pairs, weights().layout, {})
    adapters = {"adapters": {"appearance": str(tmp_path / "look.safetensors")}}
    small = {**files, "checkpoint": tmp_path / "small.safetensors"}
    job = new_job(tmp_path / "job", customize(absorber="file"), small, **adapters)
    assert run_job(job) == FINISHED


@pytest.mark.parametrize("wrong", [{"absorber": "words"}, {"absorber": "both", "words": ("red",)}])
def test_words_are_asked_for_by_name(wrong):
    with pytest.raises(UserError, match="words"):
        customize(**wrong)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_an_absorbers_file_is_a_plain_lora(tmp_path, files, scale):
    job = new_job(tmp_path / "job", customize(), files)
    assert run_job(job) == FINISHED
    merged = merge_image_lora(weights(), job.exports / "made appearance.safetensors", scale)
    changed = differences(dict(weights().tensors), merged.tensors)
    assert len(changed) == 7 * 6
    assert all(re.search(r"attn[12]\.to_[qkv]\.weight", name) for name in changed)
