"""Sets that a model draws: at the press by ComfyUI, or by a process of its own from a plan.

Runs in ComfyUI.
"""
