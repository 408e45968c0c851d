"""The demo: real flights, over real protocols, through a real Lambda runtime, and every message accounted for.

`plan` decides what is sent (`poison` breaks some of it), `stack` sets up what AWS would hold, `producers` send, `far_ends` collect what
arrives, `accounts` match the two by message id, `telemetry` listens to the function, `summary` puts it into figures and `report` into a
page. `run` is the whole, from top to bottom.
"""
