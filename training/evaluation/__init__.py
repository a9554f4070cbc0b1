"""How good a network is, on portraits with known coefficients and on photographs."""
