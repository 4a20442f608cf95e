"""Training: the loop, its parallelism, checkpoints that survive a kill, and what a run shows of itself."""
