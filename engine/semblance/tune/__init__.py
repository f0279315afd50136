"""The fastest way to run a model on this machine: what there is to try, how it is measured, which is chosen."""
