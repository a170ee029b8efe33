"""Parts that main networks are made of."""

__all__: list[str] = []
