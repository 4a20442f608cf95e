"""A place where a generated program can run and do no harm: `Sandbox().run(program)` gives a `Verdict`.

sandbox (starts it, and what is in force) -> inside (limits itself, then runs the program) -> landlock, seccomp (what the
kernel refuses it); watch keeps time, counts threads and files, and ends it.
"""
