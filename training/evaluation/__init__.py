"""How good a network is: on portraits of known coefficients, on photographs, against scans."""
