"""Nodes that measure, freeze and invert clips.

Runs in ComfyUI.
"""
