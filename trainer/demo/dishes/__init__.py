"""The ten dishes, one per module."""

from __future__ import annotations

from trainer.demo.dishes.chicken_curry import chicken_curry
from trainer.demo.dishes.chicken_wings import chicken_wings
from trainer.demo.dishes.fried_rice import fried_rice
from trainer.demo.dishes.grilled_salmon import grilled_salmon
from trainer.demo.dishes.hamburger import hamburger
from trainer.demo.dishes.ice_cream import ice_cream
from trainer.demo.dishes.pizza import pizza
from trainer.demo.dishes.ramen import ramen
from trainer.demo.dishes.steak import steak
from trainer.demo.dishes.sushi import sushi

# One per class, in the order of the labels.
_PAINTERS = (
    chicken_curry,
    chicken_wings,
    fried_rice,
    grilled_salmon,
    hamburger,
    ice_cream,
    pizza,
    ramen,
    steak,
    sushi,
)
DISHES = {paint.__name__: paint for paint in _PAINTERS}
# The dishes seen from the side; all others are seen from above.
UPRIGHT = frozenset({"hamburger", "ice_cream"})
