#!/usr/bin/env bash
# All that only a GPU can show, in two calls of at most ten minutes, results into one folder:
#
#   bash tests/benchmarks/gpu.sh [FOLDER]              # the first call; $OUT, or gpu_results here
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
# so far is in the folder, of at most eight files a call; what an earlier call left under a part's
# names is moved to FOLDER/before. The end of the output says which parts failed, or had no time
# left: run those alone. The exit status is 0 if all that ran went well, 1 if not or if none ran,
# and 2 if nothing could begin. Ctrl-C and SIGTERM end the part that runs, and the call.
# Whatever a part leaves running is ended, and the GPU's memory waited for. What was compiled is in
# FOLDER/caches.tar.gz, unless it is larger than GPU_FILE_MIB (16): as .gpu_caches.tar.gz in the
# checkout it saves the second call those minutes.
#
# The prepared corpus is expected in $MINIGPT_HOME, or artifacts/ here. The first call takes torch,
# Triton, numpy, pandas, pyarrow, matplotlib, pytest and transformers, but neither Ray nor Optuna,
# which the second does; where some are missing and no registry can be reached, wheels in .whl/ are
# unpacked into .site/, once. What a part lacks is said before the first, and that part left out.
set -uo pipefail

refuse() {
  echo "gpu.sh: $*" >&2
  exit 2
}

first=(machine correctness profile long-run long-run-compiled throughput)
second=(search ten-shapes throughput-compiled racecheck correctness-compiled trials-per-gpu packs)
words=" first second ${first[*]} ${second[*]} "
case ${1:-} in
-h | --help)
  sed -n '2,/^set /s/^# \{0,1\}//p' "$0"
  exit 0
  ;;
-*) refuse "$1: no such option; --help tells what there is" ;;
esac
[[ $words == *" ${1:-/} "* ]] &&
  refuse "the results' folder comes first: gpu.sh FOLDER $* (or ./$1, for a folder of that name)"
only=" "
for word in "${@:2}"; do
  case $word in
  first) only+="${first[*]} " ;;
  second) only+="${second[*]} " ;;
  *)
    [[ $words == *" $word "* ]] || refuse "$word: no such part; there are$words"
    only+="$word "
    ;;
  esac
done
[[ $only == " " ]] && only=" ${first[*]} "
total=${GPU_SECONDS:-570} # of the whole call
most_mib=${GPU_FILE_MIB:-16}
for number in "GPU_SECONDS $total" "GPU_FILE_MIB $most_mib"; do
  [[ ${number#* } =~ ^[1-9][0-9]{0,5}$ ]] || refuse "${number/ /=}: no positive whole number"
done

# What the user named is taken from where they stand, the rest from the checkout.
checkout=$(realpath "$(dirname "$0")/../..")
out=$(realpath -m -- "${1:-${OUT:-$checkout/gpu_results}}")
MINIGPT_HOME=$(realpath -m -- "${MINIGPT_HOME:-$checkout/artifacts}")
caches=$(realpath -m -- "${GPU_CACHES:-$checkout/.gpu_caches}")
export MINIGPT_HOME
cd "$checkout" || exit 2
bench=tests/benchmarks
log=$out/log.txt
{ mkdir -p "$out" && : >>"$log"; } 2>/dev/null || refuse "$out can't be written to as a folder"
mkdir -p "$caches" || refuse "no folder for what is compiled"
{ work=$(mktemp -d) && touch "$work/kept" && mkfifo "$work/output"; } ||
  refuse "no folder for temporary files"

# All that is printed from here on is in the log too. What writes it outlives Ctrl-C and its like,
# which reach each process of the terminal's group: how the part ended is still to be told.
(
  trap '' INT TERM HUP
  exec tee -ap "$log" <"$work/output"
) &
tee=$!
exec >"$work/output" 2>&1
trap 'exec >&- 2>&-; wait "$tee"; rm -rf "$work"' EXIT
commit=$(git describe --always --dirty --exclude='*' 2>/dev/null || echo unknown)
printf '\n=== %s, commit %s: gpu.sh %s\n' "$(date -u '+%F %T UTC')" "$commit" "$*"

if compgen -G '.whl/*.whl' >/dev/null && [ ! -f .site/whole ]; then
  rm -rf .site # one that was cut short
  python3 -m pip install -q --no-index --no-deps --no-compile --target .site .whl/*.whl &&
    touch .site/whole || echo "The wheels in .whl/ could not be unpacked"
fi
if [ -z "$(ls -A "$caches")" ] && [ -f "$caches.tar.gz" ] &&
  ! tar -xzf "$caches.tar.gz" -C "$caches"; then
  echo "$caches.tar.gz could not be unpacked: all is compiled anew"
  rm -rf "$caches" && mkdir "$caches" # half of it would keep a whole one from being read
fi
export TORCHINDUCTOR_CACHE_DIR=$caches/inductor TRITON_CACHE_DIR=$caches/triton
export PYTHONPATH=$PWD/.site:$PWD/src${PYTHONPATH:+:$PYTHONPATH}
export PYTHONUNBUFFERED=1 # what a part has printed is in the log when it is cut short
device=(--device cuda) rehearsal=()
# A file that can't be imported, as without Ray, doesn't keep the others from running.
pytest=(python3 -m pytest -v -m gpu -W default -p no:cacheprovider --continue-on-collection-errors)
ours=(--embed 128 --contenders 'ours,ours-compiled,transformers-bf16-autocast')
theirs=(--embed 128 --contenders
  'ours,ours-compiled,transformers-bf16-compiled,transformers-bf16-compiled-graphs')
if [ -n "${GPU_REHEARSAL:-}" ]; then
  export OMP_NUM_THREADS=1 # threads of models so small do little but wait for each other
  device=(--device cpu --quick) rehearsal=(--quick)
  pytest=(python3 -m pytest -q -m gpu --collect-only -p no:cacheprovider)
  ours=(--contenders ours) theirs=(--contenders 'ours-fp32,ours')
fi
tied=(setpriv --pdeathsig TERM) # a part ends with this script, also where that is killed
"${tied[@]}" true 2>/dev/null || tied=()
summary=() ran='' failed='' mark='' job=''

smi() { # which may hang where a driver is in trouble
  timeout --kill-after=1 5 nvidia-smi "$@"
}

gpu_mib() { # in use on all GPUs together; nothing where that can't be asked
  smi --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null |
    awk '{ sum += $1 } END { if (NR) print sum }'
}

wait_for_gpu() { # until as much of its memory is free as at the start, 10 s at most (GPU_WAIT)
  local held until=$((SECONDS + ${GPU_WAIT:-10}))
  [ -n "$idle_mib" ] || return
  while held=$(gpu_mib) && ((${held:-0} > idle_mib + 500)); do
    if ((SECONDS >= until)); then
      echo "The GPU still has $((held - idle_mib)) MiB more in use than at the start, by:"
      smi --query-compute-apps=pid,name,used_memory --format=csv,noheader
      return
    fi
    sleep 0.5
  done
}

end_left_overs() { # of the part with this mark, whose sessions no signal to the part reaches
  local pid pids pause
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

put_aside() { # what an earlier call left under names among these words: it would pass for new
  local path
  for path in "$@"; do
    [[ $path == "$out"/* && -f $path ]] || continue
    mkdir -p "$out/before" && mv "$path" "$out/before" &&
      echo "Of an earlier call, and now in before/: ${path##*/}"
  done
}

note() { # at once, for a call that is cut short, and once more at its end
  summary+=("$1")
  echo "=== $1"
}

part() { # [grace=SECONDS] part NAME SECONDS COMMAND...
  local grace=${grace:-5} # from SIGTERM, when its seconds are over, to SIGKILL
  local name=$1 limit=$2 started left
  shift 2
  [[ $only == *" $name "* ]] || return
  if [ -n "${lacks[$name]:-}" ]; then
    note "$name: lacks ${lacks[$name]}"
    return
  fi
  wait_for_gpu
  started=$SECONDS left=$((total - SECONDS - 5 - grace))
  if ((left < 1)); then
    note "$name: no time left"
    failed=1
    return
  fi
  ((limit = limit < left ? limit : left))
  printf '\n=== %s\n' "$name"
  put_aside "$@"
  # In the background, since Bash heeds a signal only once what it runs in the foreground has ended.
  ran=1 job='' mark=$$-$name
  GPU_PART=$mark "${tied[@]}" timeout --kill-after="$grace" "$limit" "$@" &
  job=$!
  wait "$job"
  local status=$?
  ((status == 0)) || failed=1
  end_part "status $status"
  keep_caches
}

end_part() { # HOW, with its variables; of what it left, too
  end_left_overs "$mark"
  mark=
  rm -f "$out"/*.json.*.tmp # where it was killed while it wrote
  note "$name: $1, $((SECONDS - started)) s${without:+, without $without}"
}

stop() { # SIGNAL NUMBER: end the part that runs, and the call, in order
  trap '' INT TERM HUP
  echo "SIG$1: the call ends"
  if [ -n "$mark" ]; then
    [ -n "$job" ] && kill -TERM "$job" && wait "$job"
    end_part "ended by SIG$1"
  fi
  tell
  keep_caches
  exit $((128 + $2))
}

keep_caches() { # what was compiled since the last time, at once, for a call that is cut short
  [ -n "$(find "$caches" -type f -newer "$work/kept" -print -quit)" ] || return
  touch "$work/kept"
  local packed=$out/.caches.tar.gz # those that are there stay until it is whole
  if ! tar -czf "$packed" -C "$caches" .; then
    echo "What was compiled could not be packed: not in caches.tar.gz"
  elif (($(stat -c %s "$packed") > most_mib << 20)); then
    echo "What was compiled takes $(mib "$packed") MiB, more than $most_mib: not in caches.tar.gz"
  else
    mv "$packed" "$out/caches.tar.gz"
  fi
  rm -f "$packed"
}

mib() {
  stat -c %s "$1" | awk '{ printf "%.1f", $1 / 1048576 }'
}

tell() { # what there is to take home, and how the parts ended
  local path files=
  for path in "$out"/*; do
    [ -f "$path" ] || continue
    files+=", ${path##*/} $(mib "$path")"
    (($(stat -c %s "$path") <= most_mib << 20)) || files+=" (more than $most_mib)"
  done
  printf '\nFiles, in MiB: %s\n\n' "${files#, }"
  printf '%s\n' "${summary[@]}"
}

trap 'stop HUP 1' HUP
trap 'stop INT 2' INT
trap 'stop TERM 15' TERM
declare -A lacks
[[ $only == *" correctness-compiled "* ]] && tests=worker-tests || tests=
# shellcheck disable=SC2086 # words of their own
found=$(python3 $bench/gpu/lacking.py "${rehearsal[@]}" $only $tests) ||
  refuse "what parts lack could not be found out with python3, so none was begun"
if [ -n "$found" ]; then
  while read -r line; do lacks[${line%%: *}]=${line#*: }; done <<<"$found"
  echo "Lacking here: ${found//$'\n'/; }"
fi
idle_mib=$(gpu_mib)
((${idle_mib:-0} > 1000)) && echo "At the start $idle_mib MiB of the GPU's memory are in use"

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
tell
[[ -n $ran && -z $failed ]]
