"""The page."""


def write_page(*a):
    pass


def draw_gap(*a):
    pass
