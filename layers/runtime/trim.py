"""Remove from an installed layer what scoring never loads: `python trim.py LAYER/python`.

Each rule is a glob below the folder and the reason why nothing misses it. tests/test_layers.py imports and runs everything
that the function needs from a trimmed layer, so a rule that cuts too deep fails there. Licences stay: the layer
redistributes binaries.
"""

import shutil
import struct
import sys
from pathlib import Path

RULES = {
    "onnxruntime/capi/libonnxruntime.so.*": "the C library; the Python module carries its own copy and does not link it",
    "onnxruntime/transformers": "makes models, never runs them",
    "onnxruntime/quantization": "makes models, never runs them",
    "onnxruntime/tools": "makes models, never runs them",
    "onnxruntime/datasets": "example models",
    "onnxruntime/backend": "the onnx package's interface; needs onnx",
    "numpy/f2py": "compiles Fortran",
    "numpy/distutils": "compiles C",
    "numpy/_core/include": "C headers",
    "numpy/_core/_simd.*.so": "exposes SIMD intrinsics to numpy's own tests",
    "numpy/_core/*_tests.*.so": "numpy's own tests",
    "numpy/testing": "assertions for tests",
    "numpy/random": "draws random numbers; scoring draws none",
    "numpy/fft": "Fourier transforms; the graph does the mathematics",
    "numpy/polynomial": "polynomials; the graph does the mathematics",
    "numpy/_pyinstaller": "freezes applications",
    "numpy/conftest.py": "configures numpy's own tests",
    "aws_lambda_powertools/event_handler": "HTTP routing and its Swagger page; no event source here speaks HTTP",
    "aws_lambda_powertools/utilities/[a-ik-z]*": "batches, parsers, caches of other functions; the logger needs jmespath_utils only",
    "cffi": "writes bindings; cryptography imports only the compiled _cffi_backend",
    "**/tests": "the packages' own tests",
    "**/*.pyi": "types, for a checker",
    "**/*.pxd": "declarations for Cython",
    "**/*.a": "static libraries",
    "**/*.[ch]": "C sources",
    "**/__pycache__": "bytecode of whatever Python ran here",
    "bin": "commands",
    ".lock": "taken by the installer",
    "*.dist-info/INSTALLER": "who installed it",
    "*.dist-info/REQUESTED": "who asked for it",
    "*.dist-info/RECORD": "a list of files that is no longer true",
    "*.dist-info/WHEEL": "how it was packed",
    "*.dist-info/entry_points.txt": "commands",
    "*.dist-info/top_level.txt": "import names, for installers",
}


def size_bytes(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if path.is_dir() and not path.is_symlink():
        return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
    return path.lstat().st_size


def trim(layer: Path) -> dict[str, int]:
    """Delete what the rules name below `layer`; answer the bytes that each rule freed."""
    freed = {}
    for rule in RULES:
        found = sorted(layer.glob(rule))
        freed[rule] = sum(size_bytes(path) for path in found if path.exists())
        for path in found:
            if path.is_dir():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()
    return freed


def loaded_bytes(elf: bytes) -> int:
    """The length of the part of a 64-bit little-endian ELF file that the program headers map into memory."""
    table: int = struct.unpack_from("<Q", elf, 0x20)[0]
    entry_bytes, entries = struct.unpack_from("<HH", elf, 0x36)
    end: int = table + entry_bytes * entries
    for index in range(entries):
        kind, _flags, offset, _va, _pa, length = struct.unpack_from("<IIQQQQ", elf, table + index * entry_bytes)
        if kind == 1:  # PT_LOAD
            end = max(end, offset + length)
    return end


def cut_symbols(layer: Path) -> int:
    """Cut from shared libraries what stands after the loaded part: symbols for debuggers. Answer the bytes freed.

    `strip` would do, but a machine of one architecture seldom has the other's. The loader reads program headers only.
    """
    freed = 0
    for path in sorted(layer.rglob("*.so*")):
        elf = path.read_bytes()
        if elf[:6] != b"\x7fELF\x02\x01":
            continue
        kept = bytearray(elf[: loaded_bytes(elf)])
        struct.pack_into("<Q", kept, 0x28, 0)  # where the section headers were
        struct.pack_into("<HH", kept, 0x3C, 0, 0)  # how many; which one names them
        # A new file in its place: installers link files to their cache, and writing through the link would cut those too.
        cut = path.with_name(f"{path.name}.cut")
        cut.write_bytes(kept)
        cut.chmod(path.stat().st_mode)
        cut.replace(path)
        freed += len(elf) - len(kept)
    return freed


def main() -> int:
    """Trim the folder named on the command line and print what was freed and what is left, in MiB."""
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        print("usage: trim.py LAYER/python (a folder that packages were installed into)", file=sys.stderr)
        return 2
    layer = Path(sys.argv[1])
    before = size_bytes(layer)
    for rule, freed in trim(layer).items():
        print(f"{freed / 2**20:8.2f} MiB  {rule}: {RULES[rule]}")
    print(f"{cut_symbols(layer) / 2**20:8.2f} MiB  symbols: read by debuggers only")
    print(f"{before / 2**20:.1f} MiB installed, {size_bytes(layer) / 2**20:.1f} MiB after trimming, of which")
    parts = {path.name: size_bytes(path) for path in layer.iterdir()}
    for name in sorted(parts, key=parts.__getitem__, reverse=True)[:8]:
        print(f"{parts[name] / 2**20:8.2f} MiB  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
