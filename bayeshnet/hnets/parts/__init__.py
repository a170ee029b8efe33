"""Parts that hypernetworks are made of."""

__all__: list[str] = []
