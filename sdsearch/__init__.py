"""sdsearch: specialize Stable Diffusion v1.4-family UNets."""
