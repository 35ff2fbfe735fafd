"""Generates the Python code and the typed stubs of every proto, beside the proto: `python -m deploy.proto`.

And `descriptors.binpb`, one FileDescriptorSet of all of them with their comments, which generated code has not.
`--check` writes nothing and exits with 1 if what is committed is not what the protos give.
"""

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi", "descriptors.binpb")
DESCRIPTORS = Path("rulecast/v1/descriptors.binpb")


def include_paths() -> list[Path]:
    """Our protos, the well-known types (grpcio-tools) and google.api / google.rpc (googleapis-common-protos)."""
    return [PROTOS, _package_dir("grpc_tools") / "_proto", _package_dir("google.rpc").parent.parent]


def _package_dir(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"the package {name} is not installed; `make setup` installs it")
    return Path(next(iter(spec.submodule_search_locations)))


def sources() -> list[Path]:
    """The protos, relative to their folder, in a fixed order."""
    return sorted(path.relative_to(PROTOS) for path in PROTOS.glob("rulecast/**/*.proto"))


def generated(root: Path) -> set[Path]:
    """The generated files below root, relative to it."""
    return {path.relative_to(root) for pattern in GENERATED for path in root.glob(f"rulecast/**/{pattern}")}


def generate(target: Path) -> None:
    """Runs protoc with its Python, gRPC and stub generators; ends the program with protoc's message if it fails."""
    descriptors = target / DESCRIPTORS
    descriptors.parent.mkdir(parents=True, exist_ok=True)
    scripts = Path(sys.executable).parent
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc"),
        *(f"--proto_path={path}" for path in include_paths()),
        *(f"--plugin={name}={scripts / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")),
        *(f"--{kind}_out={target}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")),
        *(f"--descriptor_set_out={descriptors}", "--include_source_info"),
        *(path.as_posix() for path in sources()),
    ]
    done = subprocess.run(command, cwd=PROTOS, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"protoc failed:\n{done.stderr.strip()}")
    for line in done.stderr.splitlines():
        if not line.startswith("Writing mypy to "):
            sys.stderr.write(f"{line}\n")
    descriptors.write_bytes(_comments_only(descriptors.read_bytes()))


def _comments_only(descriptor_set: bytes) -> bytes:
    """The same descriptors without the places of things in the text, which change with every line added above."""
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set)
    for file in files.file:
        commented = [place for place in file.source_code_info.location if place.leading_comments]
        del file.source_code_info.location[:]
        for place in commented:
            file.source_code_info.location.add(path=place.path, leading_comments=place.leading_comments)
    return files.SerializeToString(deterministic=True)


def stale(fresh: Path) -> list[Path]:
    """Committed files that differ from the fresh ones, are missing, or belong to a proto that is gone."""
    wanted, present = generated(fresh), generated(PROTOS)
    changed = {path for path in wanted & present if not filecmp.cmp(fresh / path, PROTOS / path, shallow=False)}
    return sorted(changed | (wanted ^ present))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.proto", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only tell which generated files are out of date")
    check = parser.parse_args().check
    if not sources():
        sys.exit(f"there are no protos in {PROTOS / 'rulecast'}")
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        names = stale(fresh)
        if check and names:
            listing = "\n".join(f"  protos/{name.as_posix()}" for name in names)
            sys.exit(f"generated code is out of date, run `make proto`:\n{listing}")
        for name in [] if check else names:
            _replace(fresh / name, PROTOS / name)


def _replace(fresh: Path, committed: Path) -> None:
    if fresh.exists():
        shutil.copyfile(fresh, committed)
    else:
        committed.unlink()
    sys.stdout.write(f"{'wrote' if fresh.exists() else 'removed'} {committed.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
