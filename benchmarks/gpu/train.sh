#!/usr/bin/env bash
# Train within a time limit on a machine with a GPU and no network; call it again to go on.
#
#   benchmarks/gpu/train.sh LIMIT RUN [options of `actionparty train`]
#
# Two stages: RUN from CONFIG, then RUN/heads from RUN's weights with the recipe HEADS (no second stage where that is
# empty). Each is started, or goes on where it was; one that is finished (then it holds a file `finished`) is left alone.
# The training is asked to stop RESERVE seconds before LIMIT: it then ends its step or its batch of fitting chances, and
# saves, and what it learned is packed into OUT (see send.sh). In the time that is left, OUT/mfu.json and, once all is
# finished, OUT/bench-BATCH.json are measured. Uses the machine's own PyTorch and NumPy; all else comes from WHEELS, if
# that folder is there. Ends with 0 where all is finished or was stopped in order. Environment, with its defaults:
#   DATA=build/gpu/packed      CONFIG=benchmarks/configs/all-worlds-gpu.json   RESERVE=75   OUT=outputs/gpu
#   WHEELS=build/gpu/wheels    SITE=build/gpu/site (where they are installed)  PYTHON=python3
#   HEADS=benchmarks/configs/all-worlds-heads.json   BENCH="64 256 1024" (batches of clean_up)
set -euo pipefail
if (($# < 2)) || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: benchmarks/gpu/train.sh LIMIT_SECONDS RUN [options of actionparty train]" >&2
    exit 2
fi
cd "$(dirname "$0")/../.."

limit=$1 run=$2
shift 2
data=${DATA:-build/gpu/packed}
config=${CONFIG:-benchmarks/configs/all-worlds-gpu.json}
heads=${HEADS-benchmarks/configs/all-worlds-heads.json}
batches=${BENCH-64 256 1024}
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

remaining() { echo $((limit - reserve - SECONDS)); }
if (($(remaining) < 1)); then
    echo "error: nothing is left of $limit s: preparing took $SECONDS s, $reserve s are kept to save and pack." >&2
    exit 2
fi

stage() { # FOLDER OPTIONS...: start FOLDER with OPTIONS or go on with it, until it is finished or the time is over
    local folder=$1 code=0
    shift
    if [[ -f $folder/finished ]]; then return; fi
    if (($(remaining) < 1)); then return 124; fi
    # --foreground: the training alone gets one SIGINT; a second one would end it in the middle of a step.
    timeout --foreground --signal=INT --kill-after=$((reserve / 2 + 1)) "$(remaining)" \
        "$python" -m actionparty train "$data" --out "$folder" "$@" || code=$?
    if ((code == 0)); then touch "$folder/finished"; fi
    if ((code == 137 && $(remaining) < 0)); then # by `timeout`, not for want of memory
        echo "it did not end in time and was killed; what it saved before is kept" >&2
        code=124
    fi
    return "$code"
}

code=0
if [[ -f $run/run.json ]]; then recipe=(--resume); else recipe=(--config "$config"); fi
stage "$run" "${recipe[@]}" "$@" || code=$?
if ((code == 0)) && [[ -n $heads ]]; then
    if [[ -f $run/heads/run.json ]]; then
        recipe=(--resume)
    else
        "$python" - "$heads" "$run/run.json" >"$run/heads.json" <<'PYTHON' # the same model, whatever its size
import json
import sys

heads, run = (json.load(open(path)) for path in sys.argv[1:])
print(json.dumps(heads | {"model": run["model"]}))
PYTHON
        recipe=(--config "$run/heads.json" --init "$run")
    fi
    stage "$run/heads" "${recipe[@]}" || code=$?
fi

case $code in
0) echo "finished" ;;
124) echo "stopped after $SECONDS s; call again to go on" ;;
*) echo "the training ended with $code; what it saved before is packed" >&2 ;;
esac
if ! benchmarks/gpu/send.sh "$run" "$out"; then exit 1; fi

within() { # FILE COMMAND...: what the command prints into FILE, where the time that is left is enough
    local file=$1 left=$((limit > SECONDS + 1 ? limit - SECONDS : 1))
    shift
    if timeout --foreground "$left" "$@" >"$file.new"; then
        mv "$file.new" "$file"
    else
        rm "$file.new"
        echo "${file##*/} is not measured: no time is left, or what it needs is not there" >&2
    fi
}

# How well the machine was used; a run of a few steps has nothing to tell yet.
within "$out/mfu.json" "$python" -m benchmarks.gpu.mfu "$run" "$data"
if ((code == 0)); then # one rollout and a batch, from the scenes of the shipped weights
    weights=$run/weights
    if [[ -d $run/heads/weights ]]; then weights=$run/heads/weights; fi
    played=$(mktemp -d)
    trap 'rm -rf "$played"' EXIT
    cp "$weights"/* "$played" && ln -s "$PWD/src/actionparty/weights/all/scenes" "$played/scenes"
    device=$("$python" -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')
    for batch in $batches; do
        within "$out/bench-$batch.json" "$python" -m actionparty bench clean_up --checkpoint "$played" \
            --device "$device" --batch "$batch" --json
    done
fi
if ((code == 124)); then exit 0; fi
exit "$code"
