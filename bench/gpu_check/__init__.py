"""Proves and measures the CUDA path on whatever NVIDIA GPU a machine has: `make gpu-check`.

`device`, `usable` and `subjects` say what there is to work with. `parity`, `invariance`, `residence`, `placement` and
`matching` prove, each by a `Check`. `setting` plans, `running` prepares one session as a setting says, `speed` times;
`ceiling` says what the device could do; `race` runs the engine beside PyTorch and Keras on JAX, which
`contenders` holds and `worker` serves. `result` writes all of it, `tables` shows it.
"""
