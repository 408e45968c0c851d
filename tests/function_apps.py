"""The handlers below functions/, as Lambda imports them: each is a module named app."""

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent


def load_app(folder: str) -> ModuleType:
    """``functions/<folder>/app.py``, imported under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"{folder}_app", ROOT / "functions" / folder / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
