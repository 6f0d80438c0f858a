#!/usr/bin/env bash
# Prepare, on a machine with a network, what a training on a machine without one needs, and say what to carry there.
#
#   benchmarks/gpu/prepare.sh [DATASET ...]
#
# Without arguments: datasets/all, factory, curious and rewarded. Datasets are read, never changed. Makes
# build/gpu/packed (again only where the datasets are others) and build/gpu/wheels, both ignored by git.
# Environment:
#   PYTHON           the interpreter of this project (default: .venv/bin/python)
#   PYTHON_VERSION   of the machine that will train (default: 3.12)
#   PACKED           where the packed data go (default: build/gpu/packed)
set -euo pipefail
cd "$(dirname "$0")/../.."

if (($#)); then datasets=("$@"); else datasets=(datasets/all datasets/factory datasets/curious datasets/rewarded); fi
packed=${PACKED:-build/gpu/packed}
wheels=build/gpu/wheels
python=${PYTHON:-.venv/bin/python}
version=${PYTHON_VERSION:-3.12}
limit_mib=64
packages=(einops rich safetensors typer) # what training from a packed dataset imports beside torch and numpy

export PYTHONPATH=src GOMP_SPINCOUNT=0
for dataset in "${datasets[@]}"; do
    if [[ ! -f $dataset/manifest.jsonl ]]; then
        echo "error: $dataset is no recorded dataset; docs/training-log.md has the commands that record it." >&2
        exit 2
    fi
done
from=$(sha256sum -- "${datasets[@]/%//manifest.jsonl}")
if [[ -f $packed/packed.json && -f $packed.from && $(<"$packed.from") == "$from" ]]; then
    echo "$packed holds these datasets already."
else
    rm -rf "$packed" "$packed.from"
    "$python" -m actionparty pack "${datasets[@]}" --out "$packed"
    echo "$from" >"$packed.from"
fi

rm -rf "$wheels"
platforms=()
for tag in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014 manylinux1; do
    platforms+=(--platform "${tag}_x86_64")
done
"$python" -m pip download --quiet --only-binary=:all: --implementation cp --python-version "$version" \
    "${platforms[@]}" --dest "$wheels" "${packages[@]}"

mib() { awk -v bytes="$1" 'BEGIN { printf "%.1f MiB", bytes / 1048576 }'; }
size() { du -sb "$1" | cut -f1; }
tree=$(git ls-files -z --cached --others --exclude-standard | { xargs -0 du -cb 2>/dev/null || true; } |
    awk '/\ttotal$/ { sum += $1 } END { print sum + 0 }') # a file removed since the last commit is no error
if [[ -d shared ]]; then tree=$((tree + $(size shared))); fi
total=$((tree + $(size "$packed") + $(size "$wheels")))

echo
echo "carry:"
for path in "$packed" "$wheels"; do echo "  $path  $(mib "$(size "$path")")"; done
echo "with the working tree, $(mib "$tree"): $(mib "$total") of $limit_mib MiB"
if ((total > limit_mib * 1048576)); then
    echo "error: that is too much for one call; pack fewer worlds." >&2
    exit 1
fi
echo "then, there: DATA=$packed benchmarks/gpu/train.sh 585 runs/gpu --size base"
