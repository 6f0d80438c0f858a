#!/usr/bin/env bash
# Measure how fast shipped weights generate worlds on a machine with a GPU and no network, in one call of some minutes.
#
#   benchmarks/gpu/bench.sh LIMIT [options of `actionparty bench`]
#
# OUT/bench-WORLD-ENGINE-BATCH.json for every world, engine and batch; the largest batches last. What has no time left in
# LIMIT seconds, does not fit or cannot run is said, and the rest goes on; ends with 1 where nothing was measured.
# Uses the machine's own PyTorch and NumPy; all else comes from WHEELS (see train.sh). Environment, with its defaults:
#   WORLDS="clean_up collaborative_cooking__crowded"   ENGINES="torch torch-bf16"   BATCHES="1 64 256 1024"
#   CHECKPOINT=all   DEVICE=cuda   OUT=outputs/gpu   SITE=build/gpu/site   PYTHON=python3
set -euo pipefail
if (($# < 1)) || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: benchmarks/gpu/bench.sh LIMIT_SECONDS [options of actionparty bench]" >&2
    exit 2
fi
cd "$(dirname "$0")/../.."
limit=$1
shift
out=${OUT:-outputs/gpu}
mkdir -p "$out"
export PYTHONPATH="${SITE:-build/gpu/site}:$PWD/src${PYTHONPATH:+:$PYTHONPATH}" GOMP_SPINCOUNT=0

measured=0
for batch in ${BATCHES:-1 64 256 1024}; do
    for world in ${WORLDS:-clean_up collaborative_cooking__crowded}; do
        for engine in ${ENGINES:-torch torch-bf16}; do
            file=$out/bench-$world-$engine-$batch.json
            left=$((limit > SECONDS ? limit - SECONDS : 1))
            if timeout --foreground "$left" "${PYTHON:-python3}" -m actionparty bench "$world" --engine "$engine" \
                --checkpoint "${CHECKPOINT:-all}" --device "${DEVICE:-cuda}" --batch "$batch" --json "$@" >"$file.new"; then
                mv "$file.new" "$file"
                measured=$((measured + 1))
            else
                rm "$file.new"
                echo "${file##*/} is not measured: no time is left, or see above" >&2
            fi
        done
    done
done
echo "$measured measured in $SECONDS s"
((measured))
