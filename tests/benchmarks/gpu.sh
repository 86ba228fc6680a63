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
# A part that fails or takes too long doesn't keep the next from running, and what it has measured
# so far is in the folder, of at most eight files a call; the end of the output says which did, or had
# no time left: run those alone. Whatever a part leaves running is ended, and the GPU's memory waited
# for. What was compiled is kept in FOLDER/caches.tar.gz, unless it is larger than GPU_FILE_MIB (16):
# as .gpu_caches.tar.gz in the checkout it saves the second call those minutes.
#
# The prepared corpus is expected in $MINIGPT_HOME or ./artifacts. The first call takes torch, Triton,
# numpy, pandas, pyarrow, matplotlib, pytest and transformers, but neither Ray nor Optuna, which the
# second does; where some are missing and no registry can be reached, wheels in .whl/ are unpacked
# into .site/, once. What a part lacks is said before the first begins, and that part left out.
set -uo pipefail
cd "$(dirname "$0")/../.."
export MINIGPT_HOME=$(realpath -m "${MINIGPT_HOME:-artifacts}")
out=$(realpath -m "${1:-${OUT:-gpu_results}}")
caches=$(realpath -m "${GPU_CACHES:-.gpu_caches}")
total=${GPU_SECONDS:-570} # of the whole call
most_mib=${GPU_FILE_MIB:-16}
first=(machine correctness profile long-run long-run-compiled throughput)
second=(search ten-shapes throughput-compiled racecheck correctness-compiled trials-per-gpu packs)
only=" "
for word in "${@:2}"; do
  case $word in
  first) only+="${first[*]} " ;;
  second) only+="${second[*]} " ;;
  *)
    if [[ " ${first[*]} ${second[*]} " != *" $word "* ]]; then
      echo "gpu.sh: $word: no such part; there are first, second, ${first[*]} ${second[*]}" >&2
      exit 2
    fi
    only+="$word "
    ;;
  esac
done
[[ $only == " " ]] && only=" ${first[*]} "
mkdir -p "$out"
log=$out/log.txt
touch "$log"
bench=tests/benchmarks

say() {
  printf '%s\n' "$@" | tee -a "$log"
}

if compgen -G '.whl/*.whl' >/dev/null && [ ! -f .site/whole ]; then
  rm -rf .site # one that was cut short
  python3 -m pip install -q --no-index --no-deps --no-compile --target .site .whl/*.whl &&
    touch .site/whole || say "The wheels in .whl/ could not be unpacked"
fi
if [ ! -d "$caches" ]; then
  mkdir -p "$caches"
  [ -f "$caches.tar.gz" ] && tar -xzf "$caches.tar.gz" -C "$caches"
fi
export TORCHINDUCTOR_CACHE_DIR=$caches/inductor TRITON_CACHE_DIR=$caches/triton
export PYTHONPATH=$PWD/.site:$PWD/src${PYTHONPATH:+:$PYTHONPATH}
export PYTHONUNBUFFERED=1 # what a part has printed is in the log when it is cut short
device=(--device cuda) rehearsal=()
# A file that can't be imported, as without Ray, doesn't keep the others from running.
pytest=(python3 -m pytest -v -m gpu -W default -p no:cacheprovider --continue-on-collection-errors)
ours=(--embed 128 --contenders ours,ours-compiled,transformers-bf16-autocast)
theirs=(--embed 128 --contenders
  ours,ours-compiled,transformers-bf16-compiled,transformers-bf16-compiled-graphs)
if [ -n "${GPU_REHEARSAL:-}" ]; then
  export OMP_NUM_THREADS=1 # threads of models so small do little but wait for each other
  device=(--device cpu --quick) rehearsal=(--quick)
  pytest=(python3 -m pytest -q -m gpu --collect-only -p no:cacheprovider)
  ours=(--contenders ours) theirs=(--contenders ours-fp32,ours)
fi
summary=()
kept=$(mktemp) packed=$(mktemp)
trap 'rm -f "$kept" "$packed"' EXIT

gpu_mib() { # in use on all GPUs together; nothing where that can't be asked
  timeout 5 nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null |
    awk '{ sum += $1 } END { if (NR) print sum }'
}

wait_for_gpu() { # until as much of its memory is free as at the start, 10 s at most (GPU_WAIT)
  local held until=$((SECONDS + ${GPU_WAIT:-10}))
  [ -n "$idle_mib" ] || return
  while held=$(gpu_mib) && ((${held:-0} > idle_mib + 500)); do
    if ((SECONDS >= until)); then
      say "The GPU still has $((held - idle_mib)) MiB more in use than at the start, by:" \
        "$(timeout 5 nvidia-smi --query-compute-apps=pid,name,used_memory --format=csv,noheader)"
      return
    fi
    sleep 0.5
  done
}

end_left_overs() { # of the part with this mark, whose sessions no signal to the part reaches
  local pid pids
  for pause in 1 0.2 0.2; do # some are about to end by themselves
    pids=$(grep -lszxF "GPU_PART=$1" /proc/[0-9]*/environ | tr -dc '0-9\n')
    [ -n "$pids" ] || return
    sleep "$pause"
    for pid in $pids; do
      grep -qszxF "GPU_PART=$1" "/proc/$pid/environ" || continue
      echo "Left running, and ended: $pid $(tr '\0' ' ' <"/proc/$pid/cmdline" | cut -c1-100)"
      kill -KILL "$pid"
    done
  done
}

part() { # [grace=SECONDS] part NAME SECONDS COMMAND...
  local grace=${grace:-5} # from SIGTERM, when its seconds are over, to SIGKILL
  local name=$1 limit=$2 started left
  shift 2
  [[ $only == *" $name "* ]] || return
  if [ -n "${lacks[$name]:-}" ]; then
    summary+=("$name: lacks ${lacks[$name]}")
    return
  fi
  wait_for_gpu
  started=$SECONDS left=$((total - SECONDS - 5 - grace))
  if ((left < 1)); then
    summary+=("$name: no time left")
    return
  fi
  ((limit = limit < left ? limit : left))
  say '' "=== $name"
  ( # the left-overs have its output too, whose end is waited for
    GPU_PART=$$-$name timeout --kill-after="$grace" "$limit" "$@"
    status=$?
    end_left_overs "$$-$name"
    exit $status
  ) 2>&1 | tee -a "$log"
  local status=${PIPESTATUS[0]}
  summary+=("$name: status $status, $((SECONDS - started)) s${without:+, without $without}")
  keep_caches
}

keep_caches() { # what was compiled since the last time, at once, for a call that is cut short
  [ -n "$(find "$caches" -type f -newer "$kept" -print -quit)" ] || return
  touch "$kept"
  tar -czf "$packed" -C "$caches" . || return
  if (($(stat -c %s "$packed") > most_mib << 20)); then
    say "What was compiled takes $(mib "$packed") MiB, more than $most_mib: not in caches.tar.gz"
  else
    cp "$packed" "$out/caches.tar.gz"
  fi
}

mib() {
  stat -c %s "$1" | awk '{ printf "%.1f", $1 / 1048576 }'
}

tell_files() { # what there is to take home
  local path files=
  for path in "$out"/*; do
    files+=", ${path##*/} $(mib "$path")"
    (($(stat -c %s "$path") <= most_mib << 20)) || files+=" (more than $most_mib)"
  done
  say "Files, in MiB: ${files#, }"
}

declare -A lacks
[[ $only == *" correctness-compiled "* ]] && tests=worker-tests || tests=
mapfile -t found < <(python3 $bench/gpu/lacking.py "${rehearsal[@]}" $only $tests)
for line in "${found[@]}"; do lacks[${line%%: *}]=${line#*: }; done
((${#found[@]} > 0)) && say "Lacking here: $(printf '%s; ' "${found[@]}" | sed 's/; $//')"
idle_mib=$(gpu_mib)
((${idle_mib:-0} > 1000)) && say "At the start $idle_mib MiB of the GPU's memory are in use"

mapfile -t gpu_tests < <(grep -rl --include='test_*.py' 'mark\.gpu' tests/model | sort)
mapfile -t worker_tests < <(grep -rl --include='test_*.py' 'mark\.gpu' tests/search)
part machine 60 python3 $bench/gpu/machine.py "${device[@]:0:2}" --json "$out/machine.json"
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
part racecheck 90 python3 $bench/gpu/racecheck.py "${device[@]:0:2}"
without=
if [ -n "${lacks[worker-tests]:-}" ]; then # one file that can't be imported would stop them all
  worker_tests=() without="tests/search, which lack ${lacks[worker-tests]}"
fi
without=$without part correctness-compiled 150 "${pytest[@]}" -k 'compiled or worker or search' \
  "${gpu_tests[@]}" "${worker_tests[@]}"
without=
part trials-per-gpu 100 python3 $bench/gpu/trials_per_gpu.py "${device[@]}" \
  --json "$out/sharing.json"
part packs 90 python3 $bench/training/packing.py "${device[@]}" --compiled --rounds 1 --seconds 1 \
  --json "$out/packing.json"
say ''
tell_files
say '' "${summary[@]}"
