"""The switches of optimizations: nesting, errors, threads."""

import dataclasses
import threading

import pytest

from bayeshnet.speed import Shortcuts, shortcuts, using


def test_defaults_are_all_on():
    assert shortcuts() == Shortcuts()
    values = [getattr(shortcuts(), field.name) for field in dataclasses.fields(Shortcuts)]
    assert all(value for value in values if isinstance(value, bool))


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Shortcuts)])
def test_each_shortcut_is_changed_within_the_block_alone(name):
    value = not shortcuts().memo if isinstance(getattr(Shortcuts(), name), bool) else 7
    with using(**{name: value}):
        assert shortcuts() == dataclasses.replace(Shortcuts(), **{name: value})
    assert shortcuts() == Shortcuts()


def test_blocks_nest():
    with using(memo=False, row_block=3):
        with using(memo=True, few_draws=5):
            assert (shortcuts().memo, shortcuts().row_block, shortcuts().few_draws) == (True, 3, 5)
        assert (shortcuts().memo, shortcuts().row_block, shortcuts().few_draws) == (False, 3, 64)
    assert shortcuts() == Shortcuts()


def test_errors_restore():
    with pytest.raises(KeyError), using(direct=False):
        raise KeyError
    assert shortcuts().direct


def test_unknown_names_are_refused():
    with pytest.raises(TypeError, match="sharing"), using(sharing=True):
        pass
    assert shortcuts() == Shortcuts()


def test_shortcuts_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        shortcuts().memo = False


def test_it_decorates_functions():
    @using(memo=False)
    def inside():
        return shortcuts().memo

    assert [inside(), shortcuts().memo, inside()] == [False, True, False]


def test_threads_do_not_see_each_others_changes():
    seen, inside = {}, threading.Barrier(2)

    def work(value):
        with using(row_block=value):
            inside.wait()
            seen[value] = shortcuts().row_block
            inside.wait()

    with using(row_block=5):
        threads = [threading.Thread(target=work, args=(value,)) for value in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert shortcuts().row_block == 5
    assert seen == {1: 1, 2: 2}
