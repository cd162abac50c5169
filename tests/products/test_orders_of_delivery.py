"""Law 3: in whatever order batches come and go, the catalogue is that of orderly deliveries."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shops import DELTA, SNAPSHOT, Landing, Offer, Offers, Shops, empty

from assets.products.applying import Applied, roll_back

pytestmark = [pytest.mark.stack, pytest.mark.laws]


@dataclass(frozen=True)
class Delivery:
    """One batch of a random sequence."""

    feed: tuple[str, str]
    offers: Offers


#: The feeds of `mixed` share an offer: it belongs to whichever spoke of it last.
FEEDS = {("shop", SNAPSHOT): "12345", ("other", DELTA): "12345", ("mixed", SNAPSHOT): "123", ("mixed", DELTA): "389"}
OFFERS = st.builds(
    Offer, title=st.sampled_from(["Kettle", "Toaster", "?"]), price=st.sampled_from([5, 7]), stock=st.just("in_stock")
)


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    feed = draw(st.sampled_from(sorted(FEEDS)))
    return Delivery(feed, draw(st.dictionaries(st.sampled_from(FEEDS[feed]), OFFERS, max_size=4)))


@st.composite
def sequences(draw: st.DrawFn) -> list[Delivery]:
    """What is delivered hour after hour; some shops deliver the same few files again and again."""
    few = draw(st.lists(deliveries(), min_size=1, max_size=3))
    again = draw(st.booleans())
    return draw(st.lists(st.sampled_from(few) if again else deliveries(), min_size=1, max_size=7))


def expected(sequence: Sequence[Delivery]) -> dict[str, dict[str, Offer]]:
    """The model: what every source offers after orderly deliveries."""
    sources: dict[str, dict[str, tuple[str, Offer]]] = {source: {} for source, _ in FEEDS}
    newest: dict[tuple[str, str], list[tuple[str, Offer]]] = {}
    for delivery in sequence:
        if newest.get(delivery.feed) == list(delivery.offers.items()):
            continue  # it repeats the delivery before it
        newest[delivery.feed] = list(delivery.offers.items())
        source, path = delivery.feed
        kept = {
            name: (feed, offer) for name, (feed, offer) in sources[source].items() if path != SNAPSHOT or feed != path
        }
        sources[source] = kept | {name: (path, offer) for name, offer in delivery.offers.items()}
    return {source: {name: offer for name, (_, offer) in offers.items()} for source, offers in sources.items()}


def deliver_in_order(shops: Shops, sequence: Sequence[Delivery], order: Iterable[int]) -> None:
    """Begin with an empty catalogue and deliver what was made at each hour, in the order in which it arrives."""
    empty(shops.warehouse)
    shops.landing = Landing()
    for number in order:
        source, path = sequence[number].feed
        shops.deliver(number, sequence[number].offers, source=source, path=path)
        shops.check_laws()


def deliver_and_then_run(shops: Shops, sequence: Sequence[Delivery], looked: Iterable[int], run: Iterable[int]) -> None:
    """Begin with an empty catalogue, let everything be seen in one order, and run what waits in another."""
    empty(shops.warehouse)
    shops.landing = Landing()
    batches = {}
    for number in looked:
        source, path = sequence[number].feed
        batches[number] = shops.write_down(number, sequence[number].offers, source=source, path=path)
    waiting = shops.look()
    for number in run:
        if batches[number].batch_key in waiting:
            shops.apply(batches[number], sequence[number].offers)
            shops.check_laws()
    assert shops.look() == ()


RANDOM_SEQUENCES = settings(
    max_examples=15, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@RANDOM_SEQUENCES
@given(sequences(), st.data())
def test_in_whatever_order_and_however_often_batches_come_the_catalogue_is_that_of_orderly_deliveries(
    shops: Shops, sequence: list[Delivery], data: st.DataObject
) -> None:
    numbers = list(range(len(sequence)))
    order = data.draw(st.permutations([*numbers, *data.draw(st.lists(st.sampled_from(numbers), max_size=3))]))
    deliver_in_order(shops, sequence, numbers)
    orderly = shops.content()
    deliver_in_order(shops, sequence, order)
    for source, offers in expected(sequence).items():
        wanted = {name: (offer.title, offer.title if offer.is_clean else None) for name, offer in offers.items()}
        assert shops.current(source) == wanted
    assert shops.content() == orderly, "history and times too"
    looked, run = data.draw(st.permutations(numbers)), data.draw(st.permutations(numbers))
    deliver_and_then_run(shops, sequence, looked, run)
    assert shops.content() == orderly, "in whatever order they are seen and then run"
    before = shops.written()
    newest = sequence[-1]
    assert shops.deliver(len(sequence) - 1, newest.offers, source=newest.feed[0], path=newest.feed[1]) == Applied()
    assert shops.written() == before


@RANDOM_SEQUENCES
@given(sequences(), st.data())
def test_a_batch_that_is_rolled_back_might_never_have_come_and_accepted_again_might_never_have_gone(
    shops: Shops, sequence: list[Delivery], data: st.DataObject
) -> None:
    numbers = list(range(len(sequence)))
    undone = data.draw(st.sampled_from(sequence))
    deliver_in_order(shops, sequence, [number for number in numbers if sequence[number] != undone])
    without = shops.content()
    deliver_in_order(shops, sequence, data.draw(st.permutations(numbers)))
    whole = shops.content()
    source, path = undone.feed
    batch = shops.write_down(sequence.index(undone), undone.offers, source=source, path=path)

    assert roll_back(shops.warehouse, shops.archive, batch).made_anew_from < len(sequence)
    assert shops.content() == without
    shops.check_laws()
    assert roll_back(shops.warehouse, shops.archive, batch) == Applied(), "it is out already"
    assert shops.apply(batch, undone.offers) == Applied(), "and stays out"
    assert shops.content() == without

    shops.book.accept(batch.batch_key)
    shops.apply(shops.book.batch(batch.batch_key), undone.offers)
    assert shops.content() == whole
    shops.check_laws()
