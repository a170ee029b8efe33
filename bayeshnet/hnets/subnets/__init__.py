"""Networks inside hypernetworks, as functions of tensors that the hypernetwork declares."""

__all__: list[str] = []
