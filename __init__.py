"""ComfyUI-StillMoving: customized checkpoints that move. Nothing is imported at module scope."""
