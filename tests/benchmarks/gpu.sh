#!/usr/bin/env bash
# All that only a GPU can show, in one call of at most ten minutes, results into one folder:
#
#   bash tests/benchmarks/gpu.sh [FOLDER]              # $OUT, or gpu_results
#
# Correctness against float64 on the CPU first; then throughput beside the peers, the 10-epoch run,
# a profile, and how many trials share the GPU well. A part that fails or takes too long doesn't
# keep the next from running; the end of the output says which did. The prepared corpus is expected
# in $MINIGPT_HOME or ./artifacts. Where packages are missing and no registry can be reached, wheels
# in .whl/ are unpacked into .site/.
set -uo pipefail
cd "$(dirname "$0")/../.."
export MINIGPT_HOME=$(realpath -m "${MINIGPT_HOME:-artifacts}")
out=$(realpath -m "${1:-${OUT:-gpu_results}}")
mkdir -p "$out"
log=$out/log.txt
: >"$log"
if compgen -G '.whl/*.whl' >/dev/null && [ ! -d .site ]; then
  python3 -m pip install -q --no-index --no-deps --no-compile --target .site .whl/*.whl
fi
export PYTHONPATH=$PWD/.site:$PWD${PYTHONPATH:+:$PYTHONPATH}
summary=()

part() { # part NAME SECONDS COMMAND...
  local name=$1 limit=$2 started=$SECONDS
  shift 2
  printf '\n=== %s\n' "$name" | tee -a "$log"
  timeout --kill-after=10 "$limit" "$@" 2>&1 | tee -a "$log"
  local status=${PIPESTATUS[0]}
  summary+=("$name: status $status, $((SECONDS - started)) s")
}

part machine 20 bash -c 'nvidia-smi; nproc; python3 -c "
import platform, torch
print(platform.python_version(), torch.__version__, torch.version.cuda, torch.cuda.get_device_name())"'
part correctness 100 python3 -m pytest -m gpu tests/model/test_gpu.py tests/model/test_packed.py -W default -p no:cacheprovider
cd tests/benchmarks || exit 1
part throughput 190 python3 throughput.py --device cuda --embed 128 --contenders \
  ours,transformers-bf16-autocast,transformers-bf16-compiled,transformers-bf16-compiled-graphs \
  --json "$out/throughput.json" --figure "$out/throughput.png"
part long-run 110 python3 gpu_long_run.py --json "$out/long_run.json"
part profile 80 python3 gpu_profile.py
part trials-per-gpu 50 python3 trials_per_gpu.py --json "$out/sharing.json"
part packs 40 python3 packing.py --device cuda --rounds 1 --seconds 1 --json "$out/packing.json"
printf '%s\n' '' "${summary[@]}" | tee -a "$log"
