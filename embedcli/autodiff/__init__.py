"""Reverse-mode differentiation of NumPy arrays; knows nothing of words.

>>> from embedcli.autodiff import Tensor, ops
>>> x = Tensor([0.0, 1.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> [round(float(slope), 3) for slope in x.grad]
[0.0, 2.0]
"""

from embedcli.autodiff import ops
from embedcli.autodiff.check import check_gradient
from embedcli.autodiff.rows import RowGrad
from embedcli.autodiff.tensor import PRIMITIVES, Tensor, primitive

__all__ = ["PRIMITIVES", "RowGrad", "Tensor", "check_gradient", "ops", "primitive"]
