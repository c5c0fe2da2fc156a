"""The network and its parts. Notation: n rows, z pre-activation, a activation, grad, params."""
