#!/usr/bin/env bash
# Everything that needs a GPU, in one command: `tests.benchmarks.gpu` on a machine without network.
#
#   tests/benchmarks/gpu.sh wheels [PYTHON]  with a network: fetches into .wheels/ what a machine with PyTorch,
#                                            transformers and PEFT lacks, for that Python (by default 3.12)
#   tests/benchmarks/gpu.sh run [OPTION ..]  on the machine with the GPU, beside .wheels/: prints the table
set -euo pipefail
cd "$(dirname "$0")/../.."
wheels=.wheels

# Of the dependencies in pyproject.toml, and of theirs.
lacking=(
  sqlmodel sqlalchemy greenlet pydantic pydantic-core annotated-types typing-inspection typing-extensions
  datasets evaluate dill multiprocess
)

case ${1:-} in
  wheels)
    platforms=()
    for glibc in 2_28 2_27 2_24 2_17; do platforms+=(--platform "manylinux_${glibc}_x86_64"); done
    mkdir -p "$wheels"
    for name in "${lacking[@]}"; do
      python3 -m pip download -q --no-deps --only-binary=:all: --implementation cp --python-version "${2:-3.12}" \
        "${platforms[@]}" --platform manylinux2014_x86_64 -c constraints.txt -d "$wheels" "$name"
    done
    du -sh "$wheels"
    ;;
  run)
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    if ! python3 -c 'import sqlmodel, datasets, evaluate' 2>/dev/null; then
      python3 -m pip install -q --no-index --no-deps --no-compile --target "$site" "$wheels"/*.whl
    fi
    PYTHONPATH="$PWD:$site" python3 -m tests.benchmarks.gpu "${@:2}"
    ;;
  *)
    sed -n '2,6s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
