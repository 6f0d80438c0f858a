#!/usr/bin/env bash
# Pack a run into files that can be brought back: at most 7 of at most 15 MiB, 60 MiB together.
#
#   benchmarks/gpu/send.sh RUN OUT
#
# OUT/weights.tar.gz.000... hold the weights of the last stage, recipes and curves; OUT/state.tar.gz.000... what a
# resume needs, where that fits beside them. To unpack: cat OUT/weights.tar.gz.* | tar -xz -C RUN
set -euo pipefail
run=$1 out=$2
part=$((15 * 1024 * 1024))
most_files=7 # one more is left for what others write
most_bytes=$((4 * part))

if [[ ! -d $run/weights ]]; then
    echo "error: $run has no weights yet: the training was stopped before it saved for the first time." >&2
    exit 1
fi
last=weights # those that count: of the last stage that has any (see train.sh)
if [[ -d $run/heads/weights ]]; then last=heads/weights; fi
light=() state=()
for entry in "$run"/* "$run"/heads/*; do
    name=${entry#"$run"/}
    case $name in
    heads | 'heads/*') ;;
    "$last" | run.json | log.csv | curves.png | finished | */run.json | */log.csv | */curves.png | */finished)
        light+=("$name")
        ;;
    *) state+=("$name") ;;
    esac
done

mkdir -p "$out"
rm -f "$out"/weights.tar.gz.* "$out"/state.tar.gz.*
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fits() { # whether all that lies in OUT and the parts NAME in work may come back together
    local files bytes
    files=$(find "$out" "$work" -name '*.tar.gz.*' | wc -l)
    bytes=$(find "$out" "$work" -name '*.tar.gz.*' -printf '%s\n' | awk '{ s += $1 } END { print s + 0 }')
    ((files <= most_files && bytes <= most_bytes))
}

send() { # NAME FILES...: pack FILES of the run into parts of OUT, or say that they are too much
    local name=$1
    shift
    tar -C "$run" -c "$@" | gzip -1 | split -b "$part" -d -a 3 - "$work/$name.tar.gz."
    if fits; then
        mv "$work/$name.tar.gz".* "$out"
        return
    fi
    echo "the $name ($(du -cb "$work/$name.tar.gz".* | tail -1 | cut -f1) bytes packed) can't come back in one call; it stays in $run" >&2
    rm "$work/$name.tar.gz".*
    return 1
}

send weights "${light[@]}"
if ((${#state[@]})); then send state "${state[@]}" || true; fi
ls -l "$out"
