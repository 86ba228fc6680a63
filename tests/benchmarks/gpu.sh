#!/usr/bin/env bash
# All that only a GPU can show, in one call of at most ten minutes, results into one folder:
#
#   bash tests/benchmarks/gpu.sh [FOLDER]              # $OUT, or gpu_results
#   bash tests/benchmarks/gpu.sh FOLDER profile packs  # these parts alone
#   GPU_SECONDS=240 bash tests/benchmarks/gpu.sh       # in less than 570 seconds
#
# Correctness against float64 on the CPU first; then throughput beside the peers, the 10-epoch run,
# a profile, how many trials share the GPU well, and what takes long to compile. A part that fails
# or takes too long doesn't keep the next from running, and what it has measured so far is in the
# folder; the end of the output says which did, or had no time left: run those alone. The prepared
# corpus is expected in $MINIGPT_HOME or ./artifacts. It takes torch, Triton, numpy, pandas, pyarrow,
# matplotlib, pytest and transformers, but neither Ray nor Optuna; where some are missing and no
# registry can be reached, wheels in .whl/ are unpacked into .site/.
set -uo pipefail
cd "$(dirname "$0")/../.."
export MINIGPT_HOME=$(realpath -m "${MINIGPT_HOME:-artifacts}")
out=$(realpath -m "${1:-${OUT:-gpu_results}}")
only=" ${*:2} "
total=${GPU_SECONDS:-570} # of the whole call
mkdir -p "$out"
log=$out/log.txt
touch "$log"
if compgen -G '.whl/*.whl' >/dev/null && [ ! -d .site ]; then
  python3 -m pip install -q --no-index --no-deps --no-compile --target .site .whl/*.whl
fi
export PYTHONPATH=$PWD/.site:$PWD/src${PYTHONPATH:+:$PYTHONPATH}
export PYTHONUNBUFFERED=1 # what a part has printed is in the log when it is cut short
summary=()

part() { # part NAME SECONDS COMMAND...
  local name=$1 limit=$2 started=$SECONDS left=$((total - SECONDS - 10))
  shift 2
  [[ $only =~ ^\ +$ || $only == *" $name "* ]] || return
  if ((left < 1)); then
    summary+=("$name: no time left")
    return
  fi
  ((limit = limit < left ? limit : left))
  printf '\n=== %s\n' "$name" | tee -a "$log"
  timeout --kill-after=5 "$limit" "$@" 2>&1 | tee -a "$log"
  local status=${PIPESTATUS[0]}
  summary+=("$name: status $status, $((SECONDS - started)) s")
}

pytest=(python3 -m pytest -v -m gpu -W default -p no:cacheprovider)
part machine 20 bash -c 'nvidia-smi; nproc; python3 -c "
import platform, torch
print(platform.python_version(), torch.__version__, torch.version.cuda, torch.cuda.get_device_name())"'
part correctness 90 "${pytest[@]}" -k 'not compiled' tests/model/hardware/test_gpu.py tests/model/network/test_packed.py
cd tests/benchmarks || exit 1
part throughput 130 python3 training/throughput.py --device cuda --embed 128 \
  --contenders ours,transformers-bf16-autocast \
  --json "$out/throughput.json" --figure "$out/throughput.png"
part long-run 130 python3 gpu/long_run.py --json "$out/long_run.json"
part profile 80 python3 gpu/step_profile.py
part trials-per-gpu 80 python3 gpu/trials_per_gpu.py --json "$out/sharing.json"
part packs 50 python3 training/packing.py --device cuda --rounds 1 --seconds 1 --json "$out/packing.json"
part throughput-compiled 150 python3 training/throughput.py --device cuda --embed 128 \
  --contenders ours,transformers-bf16-compiled,transformers-bf16-compiled-graphs \
  --json "$out/throughput_compiled.json" --figure "$out/throughput_compiled.png"
cd ../..
part correctness-compiled 90 "${pytest[@]}" -k compiled tests/model/hardware/test_gpu.py
if ((${#summary[@]} == 0)); then
  echo "gpu.sh:$only: no such part" >&2
  exit 2
fi
printf '%s\n' '' "${summary[@]}" | tee -a "$log"
