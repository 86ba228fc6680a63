#!/usr/bin/env bash
# All that only a GPU can show, in two calls of at most ten minutes, results into one folder:
#
#   bash tests/benchmarks/gpu.sh [FOLDER]              # the first call; $OUT, or gpu_results
#   bash tests/benchmarks/gpu.sh FOLDER second         # the second
#   bash tests/benchmarks/gpu.sh FOLDER profile packs  # these parts alone
#   GPU_SECONDS=240 bash tests/benchmarks/gpu.sh       # in less than 570 seconds
#   GPU_REHEARSAL=1 bash tests/benchmarks/gpu.sh FOLDER first second    # on a CPU, in miniature
#
# The first says what the machine has, tests that the results are right, profiles a step, trains the
# whole recipe of 10 epochs without Inductor and with it, and measures throughput beside the peers.
# The second is a search as a user starts it, ten shapes in one process, the compiled peers, a look
# for races, what is right where blocks are compiled, trials that share the GPU, and packs.
#
# A part that fails or takes too long doesn't keep the next from running, and what it has measured so
# far is in the folder, of at most eight files a call; the end of the output says which did, or had no
# time left: run those alone. What was compiled is kept in FOLDER/caches.tar.gz: as .gpu_caches.tar.gz
# in the checkout it saves the second call those minutes.
#
# The prepared corpus is expected in $MINIGPT_HOME or ./artifacts. The first call takes torch, Triton,
# numpy, pandas, pyarrow, matplotlib, pytest and transformers, but neither Ray nor Optuna, which the
# second does; where some are missing and no registry can be reached, wheels in .whl/ are unpacked
# into .site/.
set -uo pipefail
cd "$(dirname "$0")/../.."
export MINIGPT_HOME=$(realpath -m "${MINIGPT_HOME:-artifacts}")
out=$(realpath -m "${1:-${OUT:-gpu_results}}")
caches=$(realpath -m "${GPU_CACHES:-.gpu_caches}")
total=${GPU_SECONDS:-570} # of the whole call
first=(machine correctness profile long-run long-run-compiled throughput)
second=(search ten-shapes throughput-compiled racecheck correctness-compiled trials-per-gpu packs)
only=" "
for word in "${@:2}"; do
  case $word in
  first) only+="${first[*]} " ;;
  second) only+="${second[*]} " ;;
  *) only+="$word " ;;
  esac
done
[[ $only == " " ]] && only=" ${first[*]} "
mkdir -p "$out"
log=$out/log.txt
touch "$log"
if compgen -G '.whl/*.whl' >/dev/null && [ ! -d .site ]; then
  python3 -m pip install -q --no-index --no-deps --no-compile --target .site .whl/*.whl
fi
if [ ! -d "$caches" ]; then
  mkdir -p "$caches"
  [ -f "$caches.tar.gz" ] && tar -xzf "$caches.tar.gz" -C "$caches"
fi
export TORCHINDUCTOR_CACHE_DIR=$caches/inductor TRITON_CACHE_DIR=$caches/triton
export PYTHONPATH=$PWD/.site:$PWD/src${PYTHONPATH:+:$PYTHONPATH}
export PYTHONUNBUFFERED=1 # what a part has printed is in the log when it is cut short
device=(--device cuda)
# A file that can't be imported, as without Ray, doesn't keep the others from running.
pytest=(python3 -m pytest -v -m gpu -W default -p no:cacheprovider --continue-on-collection-errors)
ours=(--embed 128 --contenders ours,ours-compiled,transformers-bf16-autocast)
theirs=(--embed 128 --contenders
  ours,ours-compiled,transformers-bf16-compiled,transformers-bf16-compiled-graphs)
if [ -n "${GPU_REHEARSAL:-}" ]; then
  export OMP_NUM_THREADS=1 # threads of models so small do little but wait for each other
  device=(--device cpu --quick)
  pytest=(python3 -m pytest -q -m gpu --collect-only -p no:cacheprovider)
  ours=(--contenders ours) theirs=(--contenders ours-fp32,ours)
fi
summary=()
kept=$(mktemp)
trap 'rm -f "$kept"' EXIT

part() { # [grace=SECONDS] part NAME SECONDS COMMAND...
  local grace=${grace:-5} # from SIGTERM, when its seconds are over, to SIGKILL
  local name=$1 limit=$2 started=$SECONDS left=$((total - SECONDS - 5 - grace))
  shift 2
  [[ $only == *" $name "* ]] || return
  if ((left < 1)); then
    summary+=("$name: no time left")
    return
  fi
  ((limit = limit < left ? limit : left))
  printf '\n=== %s\n' "$name" | tee -a "$log"
  timeout --kill-after="$grace" "$limit" "$@" 2>&1 | tee -a "$log"
  local status=${PIPESTATUS[0]}
  summary+=("$name: status $status, $((SECONDS - started)) s")
  keep_caches
}

keep_caches() { # what was compiled since the last time, at once, for a call that is cut short
  [ -n "$(find "$caches" -type f -newer "$kept" -print -quit)" ] || return
  touch "$kept"
  tar -czf "$out/caches.part" -C "$caches" . && mv "$out/caches.part" "$out/caches.tar.gz"
}

# test_gpu.py last: it ends with a capture that fails on purpose.
mapfile -t gpu_tests < <(grep -rl --include='test_*.py' 'mark\.gpu' tests/model | sort -r)
mapfile -t worker_tests < <(grep -rl --include='test_*.py' 'mark\.gpu' tests/search)
bench=tests/benchmarks
part machine 30 python3 $bench/gpu/machine.py "${device[@]:0:2}" --json "$out/machine.json"
part correctness 150 "${pytest[@]}" -k 'not compiled' "${gpu_tests[@]}"
part profile 60 python3 $bench/gpu/step_profile.py "${device[@]}" --json "$out/profile.json"
part long-run 130 python3 $bench/gpu/long_run.py "${device[@]}" --uncompiled \
  --json "$out/long_run.json"
part long-run-compiled 130 python3 $bench/gpu/long_run.py "${device[@]}" \
  --json "$out/long_run_compiled.json"
part throughput 120 python3 $bench/training/throughput.py "${device[@]}" "${ours[@]}" \
  --json "$out/throughput.json"
grace=30 part search 200 python3 $bench/gpu/ray_search.py "${device[@]}" \
  --json "$out/search.json" --tar "$out/search.tar.gz"
part ten-shapes 150 python3 $bench/gpu/ten_shapes.py "${device[@]}" --json "$out/ten_shapes.json"
part throughput-compiled 150 python3 $bench/training/throughput.py "${device[@]}" "${theirs[@]}" \
  --json "$out/throughput_compiled.json"
part racecheck 60 python3 $bench/gpu/racecheck.py "${device[@]:0:2}"
part correctness-compiled 150 "${pytest[@]}" -k 'compiled or worker or search' \
  "${gpu_tests[@]}" "${worker_tests[@]}"
part trials-per-gpu 100 python3 $bench/gpu/trials_per_gpu.py "${device[@]}" \
  --json "$out/sharing.json"
part packs 90 python3 $bench/training/packing.py "${device[@]}" --compiled --rounds 1 --seconds 1 \
  --json "$out/packing.json"
if ((${#summary[@]} == 0)); then
  echo "gpu.sh:$only: no such part" >&2
  exit 2
fi
printf '%s\n' '' "${summary[@]}" | tee -a "$log"
