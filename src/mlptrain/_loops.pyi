from mlptrain.nn.arrays import Array, Indices

def add_row(z: Array, row: Array, /) -> bool: ...
def positive_part(z: Array, out: Array, /) -> bool: ...
def scale_between(z: Array, grad: Array, low: float, high: float, inside: float, outside: float, /) -> bool: ...
def less_largest(z: Array, out: Array, /) -> bool: ...
def sum_rows(values: Array, sums: Array, /) -> bool: ...
def cross_entropy(
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
