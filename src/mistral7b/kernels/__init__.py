"""The arithmetic of the network behind one interface; the torch room is plain, differentiable and the oracle."""
