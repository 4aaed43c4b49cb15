"""Pictures drawn from data: journeys, comparisons, pairs and chains as SVG, each with its text alternative.

Every function takes a record and returns a string; ``text_*`` is the plain-text twin for a terminal. Nothing is drawn
that was not executed or read back, and nothing here imports a notebook.
"""

from netkit_edu.draw.bars import bars, text_bars
from netkit_edu.draw.beside import comparison
from netkit_edu.draw.key import legend, text_legend
from netkit_edu.draw.lanes import journey
from netkit_edu.draw.moments import moments, text_moments
from netkit_edu.draw.pairs import EndView, PairView, chain, pair, text_chain, text_pair
from netkit_edu.draw.words import text_comparison, text_journey

__all__ = [
    "EndView",
    "PairView",
    "bars",
    "chain",
    "comparison",
    "journey",
    "legend",
    "moments",
    "pair",
    "text_bars",
    "text_chain",
    "text_comparison",
    "text_journey",
    "text_legend",
    "text_moments",
    "text_pair",
]
