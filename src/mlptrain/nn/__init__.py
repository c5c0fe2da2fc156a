"""The network and its parts, in the field's own words: n rows, z pre-activation, a activation, grad, params."""
