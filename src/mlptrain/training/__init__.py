"""How a network is trained: the state, the loop, and what is measured during training."""
