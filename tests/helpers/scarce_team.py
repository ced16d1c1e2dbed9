"""A process of a team that trains; in the last one, memory is lacking for the gradients' norm once.

``python scarce_team.py``, started as ``torchrun`` does: prints what the parameters come to.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


def main() -> None:
    from helpers.pack import load_pack

    load_pack()
    import torch

    from helpers.small import motion_recipe, new_unet, sets, weights
    from still_moving.training.stage.loop import StageTraining
    from still_moving.training.stage.team import Team

    torch.set_num_threads(1)
    team = Team.join(torch.device("cpu"))
    batch = 1 if team.size > 1 else 2
    recipe = motion_recipe(batch=batch)
    training = StageTraining(recipe, 0, new_unet(), weights().layout, dict(sets()), team=team)
    settle, lacks = training._settle, [team.size > 1 and team.rank == team.size - 1]

    def scarce(started, losses):
        made = settle(started, losses)  # what is lacking is lacking after gradients were scaled
        if training.step == 1 and lacks[0]:
            lacks[0] = False
            raise torch.OutOfMemoryError("out of memory, as a card says it")
        return made

    training._settle = scarce  # type: ignore[method-assign]  # where the memory ends
    tiers = [training.advance().tier for _ in range(3)]
    digest = hashlib.sha256()
    for value in training.trainable.parameters.values():
        digest.update(value.detach().numpy().tobytes())
    print(digest.hexdigest(), tiers[-1])
    team.leave()


if __name__ == "__main__":
    main()
