"""The table that the pages speak of: orders.csv, with a column that knows too much."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path


def write_orders(folder: Path, rows: int = 3000) -> int:
    """A table of orders in which large ones from one country are often fraud, and events like it; how many events."""
    luck = random.Random(7)
    events = []
    with (folder / "orders.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["order_id", "placed_at", "amount", "country", "is_new", "refunded", "fraud"])
        for number in range(rows):
            amount, country, is_new = (
                luck.uniform(0, 10_000),
                luck.choice(["FR", "DE", "US", None]),
                luck.random() < 0.5,
            )
            chance = 0.05 + 0.6 * (amount > 5000) * (country == "US") + 0.1 * is_new
            time = f"2026-01-{1 + number * 28 // rows:02}T12:00:00Z"
            fraud = luck.random() < chance
            row = [f"o-{number}", time, round(amount, 2), country or "", str(is_new).lower()]
            writer.writerow([*row, round(amount, 2) if fraud else 0, str(fraud).lower()])
            event = {"order_id": f"o-{number}", "placed_at": time, "amount": amount, "is_new": is_new}
            events.append(event | ({"country": country} if country else {}))
    (folder / "orders.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in events[:200]))
    return 200
