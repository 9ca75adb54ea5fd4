"""NeMo's compact families, rebuilt from an archive's config and weights alone: neither NeMo nor what it needs is imported.

The layers are written anew after the papers that each file names; only the names of the weights are NeMo's, so that its checkpoints fit.
"""
