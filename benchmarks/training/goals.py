"""What training on one H100 should reach, and the work that it is measured by."""

STEPS = {"motion": 4000, "spatial": 600}  # of the paper's recipes
MINUTES = {"motion": 8, "spatial": 2}  # for all of them
SPEED, MFU = 2.0, 0.45  # over the plain loop; of the device's matrix rate
MOST_GB = {"full": (512, 8), "quarter": (256, 5)}  # (pixels, GB) in the smallest tier
# Of a step without recomputation at 16 x 512 x 512, forward and backward (counted).
TERAFLOP = {"motion": 36.1, "spatial": 37.4}
