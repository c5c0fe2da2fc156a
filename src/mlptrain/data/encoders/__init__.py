"""How does a column become inputs of the network? One class for each kind of column."""

from mlptrain.data.encoders.amounts import Amount
from mlptrain.data.encoders.base import Answers, Encoder, Packed, Writer
from mlptrain.data.encoders.categories import Category, ManyCategories
from mlptrain.data.encoders.choice import choose_encoder, encoder_kinds
from mlptrain.data.encoders.dates import Date
from mlptrain.data.encoders.numbers import Number
from mlptrain.data.encoders.pixels import Pixels

__all__ = [
    "Amount",
    "Answers",
    "Category",
    "Date",
    "Encoder",
    "ManyCategories",
    "Number",
    "Packed",
    "Pixels",
    "Writer",
    "choose_encoder",
    "encoder_kinds",
]
