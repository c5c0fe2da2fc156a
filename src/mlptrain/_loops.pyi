from mlptrain.nn.arrays import Array, Indices

def add_bias(z: Array, bias: Array, /) -> bool: ...
def relu(z: Array, out: Array, /) -> bool: ...
def gate_gradient(z: Array, grad: Array, low: float, high: float, inside: float, outside: float, /) -> bool: ...
def subtract_row_max(z: Array, out: Array, /) -> bool: ...
def row_sums(values: Array, sums: Array, /) -> bool: ...
def softmax_cross_entropy(
    shifted: Array,
    e: Array,
    sums: Array,
    log_sums: Array,
    target: Indices,
    grad: Array,
    loss: Array,
    low: float,
    high: float,
    share: float,
    /,
) -> bool: ...
def adam(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    beta1: float,
    beta2: float,
    eps_root: float,
    eps: float,
    rate: float,
    /,
) -> bool: ...
