"""The jobs of one folder (ComfyUI's user folder/still_moving), one at a time.

Standard library alone.
"""
