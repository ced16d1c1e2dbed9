"""Nodes that give a MODEL a motion module, an adapter, windows.

Runs in ComfyUI.
"""
