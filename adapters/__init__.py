"""What an adapter is: low-rank maths, scale schedules, motion measured from pixels.

Runs anywhere with torch.
"""
