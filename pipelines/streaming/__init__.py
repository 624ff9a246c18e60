"""The graphs of the jobs: for each job a module of the same name, with the function build(env, origin, *settings)."""
