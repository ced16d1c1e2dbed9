"""ComfyUI-StillMoving: customized checkpoints that move. Nothing is imported at module scope."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """What ComfyUI asks a pack for: its extension, with all nodes."""
    from .nodes import StillMovingExtension

    return StillMovingExtension()
