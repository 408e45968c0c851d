"""How a deployed stack is: one module for each thing to look at, each of which may be out of reach while the others stand."""
