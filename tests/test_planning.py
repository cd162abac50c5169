"""Laws of the plan that compares fingerprints."""

from hypothesis import given
from hypothesis import strategies as st

from assets.planning import Plan, plan

fingerprints = st.dictionaries(st.text(max_size=4), st.sampled_from("abc"), max_size=12)


@given(fingerprints, fingerprints)
def test_carrying_out_the_plan_makes_stored_what_is_wanted(wanted: dict[str, str], stored: dict[str, str]) -> None:
    todo = plan(wanted, stored)
    result = {key: value for key, value in stored.items() if key not in todo.to_drop}
    result |= {key: wanted[key] for key in todo.to_write}
    assert result == wanted


@given(fingerprints)
def test_what_is_up_to_date_needs_nothing(stored: dict[str, str]) -> None:
    todo = plan(stored, stored)
    assert not todo
    assert todo == Plan((), (), ())


@given(fingerprints, fingerprints)
def test_nothing_is_written_twice_or_for_nothing(wanted: dict[str, str], stored: dict[str, str]) -> None:
    todo = plan(wanted, stored)
    touched = todo.to_add + todo.to_change + todo.to_drop
    assert len(set(touched)) == len(touched)
    assert all(wanted.get(key) != stored.get(key) for key in touched)
    assert bool(todo) == (wanted != stored)


@given(fingerprints, fingerprints)
def test_the_plan_does_not_depend_on_the_order_of_the_mappings(wanted: dict[str, str], stored: dict[str, str]) -> None:
    backwards = plan(dict(reversed(wanted.items())), dict(reversed(stored.items())))
    assert plan(wanted, stored) == backwards
    assert list(backwards.to_write) == sorted(backwards.to_write)


@given(fingerprints)
def test_a_new_model_version_changes_every_key(stored: dict[str, str]) -> None:
    todo = plan({key: f"{value}+v2" for key, value in stored.items()}, stored)
    assert todo.to_change == tuple(sorted(stored))
    assert not todo.to_add + todo.to_drop
