"""eventscore's serving package: what runs in the Lambda function, and what everything else builds on.

The way of one event: `sources` turns an invocation into records, `service` scores a batch of them and delivers what comes of it,
`scoring` is the pure part of that (`decoding`, `columns`, `session`), `delivery` the sinks. The way of a model: `store` holds versions,
`manifest` and `signing` say what they must be, `artifact` loads one and makes it prove itself, `live_model` keeps it. `contract` says
what an event is; everything derives from it. `function` wires all of this together; `errors` draws the tree of what can go wrong.
"""
