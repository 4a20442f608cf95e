"""MT-Bench: 80 questions of two turns, graded by a judge (questions, rating, run, report)."""
