"""Stand-ins for Triton's native backends, in Python: this folder is copied beside the server and runs in its own Python.

Nothing here imports torchport: the server's Python need not have it. numpy must be older than 2 there, because the server's stub reads the
memory layout of numpy 1 and hands over wrong tensors otherwise, without an error.
"""
