"""The five demo shops, in the order of `feeds.yaml`.

Belongs here: the list of them. Not here: their habits, a module each.
"""

from samples.offers import Shop
from samples.shops.bazaar_lane import BazaarLane
from samples.shops.circuit_barn import CircuitBarn
from samples.shops.fern_and_volt import FernAndVolt
from samples.shops.maison_alpine import MaisonAlpine
from samples.shops.stromhaus import Stromhaus

SHOPS: tuple[Shop, ...] = (CircuitBarn(), Stromhaus(), BazaarLane(), FernAndVolt(), MaisonAlpine())
