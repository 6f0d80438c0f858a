#!/usr/bin/env bash
# Train within a time limit on a machine with a GPU and no network; call it again to go on.
#
#   benchmarks/gpu/train.sh LIMIT RUN [options of `actionparty train`]
#
# Starts RUN from CONFIG, or goes on with the run that is there. The training is asked to stop RESERVE seconds before
# LIMIT: it then ends its step and saves, and what it learned is packed into OUT (see send.sh). Uses the machine's own
# PyTorch and NumPy; all else comes from WHEELS, if that folder is there. Ends with 0 where the run is finished or was
# stopped in order. Environment, with its defaults:
#   DATA=datasets/all-packed   CONFIG=benchmarks/configs/all-worlds-gpu.json   RESERVE=75   OUT=outputs/gpu
#   WHEELS=build/gpu/wheels    SITE=build/gpu/site (where they are installed)  PYTHON=python3
set -euo pipefail
if (($# < 2)) || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: benchmarks/gpu/train.sh LIMIT_SECONDS RUN [options of actionparty train]" >&2
    exit 2
fi
cd "$(dirname "$0")/../.."

limit=$1 run=$2
shift 2
data=${DATA:-datasets/all-packed}
config=${CONFIG:-benchmarks/configs/all-worlds-gpu.json}
reserve=${RESERVE:-75}
out=${OUT:-outputs/gpu}
wheels=${WHEELS:-build/gpu/wheels}
site=${SITE:-build/gpu/site}
python=${PYTHON:-python3}

if [[ ! -f $data/packed.json ]]; then
    echo "error: $data holds no packed dataset: run benchmarks/gpu/prepare.sh and carry it here, or set DATA." >&2
    exit 2
fi

install_wheels() { # once for these wheels; --target, because the machine's PyTorch may live in a virtual environment
    local wanted
    wanted=$(cd "$wheels" && ls -- *.whl)
    if [[ -f $site/.wheels && $(<"$site/.wheels") == "$wanted" ]]; then return; fi
    rm -rf "$site"
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --disable-pip-version-check \
        --target "$site" "$wheels"/*.whl
    echo "$wanted" >"$site/.wheels"
}

if [[ -d $wheels ]]; then install_wheels; fi
export PYTHONPATH=$site:src${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 GOMP_SPINCOUNT=0
"$python" - <<'PYTHON'
import platform

import torch

gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
print(f"python {platform.python_version()}, torch {torch.__version__} in {torch.__path__[0]}, {gpu}", flush=True)
PYTHON

seconds=$((limit - reserve - SECONDS))
if ((seconds < 1)); then
    echo "error: nothing is left of $limit s: preparing took $SECONDS s, $reserve s are kept to save and pack." >&2
    exit 2
fi
if [[ -f $run/run.json ]]; then recipe=(--resume); else recipe=(--config "$config"); fi
code=0
# --foreground: the training alone gets one SIGINT; a second one would end it in the middle of a step.
timeout --foreground --signal=INT --kill-after=$((reserve / 2 + 1)) "$seconds" \
    "$python" -m actionparty train "$data" --out "$run" "${recipe[@]}" "$@" || code=$?

case $code in
0) echo "finished" ;;
124) code=0 && echo "stopped after $SECONDS s; call again to go on" ;;
*) echo "the training ended with $code; what it saved before is packed" >&2 ;;
esac
if ! benchmarks/gpu/send.sh "$run" "$out"; then exit 1; fi
# How well the machine was used, in what time is left; a run of a few steps has nothing to tell yet.
left=$((limit > SECONDS + 1 ? limit - SECONDS : 1))
if ! timeout --foreground "$left" "$python" -m benchmarks.gpu.mfu "$run" "$data" >"$out/mfu.json"; then
    rm "$out/mfu.json"
    echo "the utilisation is not known: no time is left, or too few steps are logged" >&2
fi
exit "$code"
