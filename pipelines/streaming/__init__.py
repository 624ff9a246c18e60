"""The graphs of the jobs: a module for each job, named as it is, with build(env, *settings)."""
