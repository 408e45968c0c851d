"""`python -m eventscore_website build`: what the generator of the site reads, written into the folder build."""

from __future__ import annotations

import sys
from pathlib import Path

from eventscore_website.errors import WebsiteError
from eventscore_website.pages import write_pages


def main() -> None:
    """Write the pages, or say what is wrong with them."""
    (folder,) = sys.argv[1:] or ["build"]
    try:
        pages = write_pages(Path.cwd(), Path(folder))
    except WebsiteError as error:
        sys.exit(f"Error: {error}")
    print(f"{folder}/docs: {len(pages)} pages")


if __name__ == "__main__":
    main()
