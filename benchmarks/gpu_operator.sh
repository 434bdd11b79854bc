#!/bin/sh
# Everything about the CUDA operators that needs a GPU, in one go of less than nine minutes:
#
#     benchmarks/gpu_operator.sh              build, test, sanitize, measure; writes benchmarks/results/operator_gpu.json
#     benchmarks/gpu_operator.sh --dry-run    the same stages without a GPU, tiny; writes to a temporary file and names it
#
# A stage that fails or runs out of its time does not stop the others; the results file says what became of each. What the
# first stages need more than planned is taken from the sanitizers, not from the benchmark.
#
#   PYTHON=python3     which Python; it must have torch and what querydet needs (PYTHONPATH is kept)
#   OUTPUT=FILE        another results file
#   CEILINGS=FILE      a compiled benchmarks/ceilings.cu, where there is no nvcc
#
# Built is only what is not there: a querydet/_C.abi3.so with CUDA kernels, made elsewhere (FORCE_CUDA=1
# TORCH_CUDA_ARCH_LIST=9.0 python setup.py build_ext --inplace), is taken as it is.
#
# Exit status: 0 when every stage passed or was left out, 1 when one failed, 2 when called wrongly or PYTHON has no torch,
# 3 without a GPU (nothing is done).

set -u
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=PASSIVE
if [ -z "${CUDA_HOME:-}" ] && [ -d /usr/local/cuda ]; then export CUDA_HOME=/usr/local/cuda; fi
dry=
case "${1:-}" in
    --dry-run) dry=--dry-run ;;
    "") ;;
    *) sed -n '2,20p' "$0"; exit 2 ;;
esac
if ! "$PYTHON" -c 'import torch' 2>/dev/null; then
    echo "$PYTHON has no torch; name one that has: PYTHON=/path/to/python $0"
    exit 2
fi
folder=$(mktemp -d)
failures=0
start=$(date +%s)
total=520       # seconds for all stages; writing the results comes after them
benchmark=130   # of these, kept for the benchmark

if [ -z "$dry" ] && ! "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "no GPU: build, tests, sanitizers, ceilings and benchmark were left out, and nothing was written." \
         "--dry-run runs the same stages without one."
    exit 3
fi

# stage NAME SECONDS KEPT COMMAND...: runs it within SECONDS, and so that KEPT are left for others; its output goes to a
# log whose end is in the results
stage() {
    name=$1; limit=$2; kept=$3; shift 3
    started=$(date +%s)
    left=$((total - kept - (started - start)))
    if [ "$left" -lt "$limit" ]; then limit=$left; fi
    if [ "$limit" -lt 5 ]; then
        leave_out "$name" "no time was left"
        failures=1
        return
    fi
    timeout -k 5 "$limit" "$@" >"$folder/$name.log" 2>&1
    status=$?
    "$PYTHON" benchmarks/gpu_report.py stage "$folder" "$name" "$status" $(($(date +%s) - started))
    case $status in 0 | 3) ;; *) failures=1 ;; esac
    echo "$name: status $status"
}

# leave_out NAME REASON
leave_out() {
    echo "$2" >"$folder/$1.log"
    "$PYTHON" benchmarks/gpu_report.py stage "$folder" "$1" 3 0
    echo "$1: left out: $2"
}

has_kernels() {
    "$PYTHON" -c '
import sys, torch, querydet.ops
has = torch._C._dispatch_has_kernel_for_dispatch_key
sys.exit(not has("querydet::ms_deform_attn_fused_backward", "CUDA"))' 2>/dev/null
}

if has_kernels; then
    leave_out build "querydet/_C has CUDA kernels already"
elif [ -n "$dry" ]; then
    leave_out build "dry run: the extension has no CUDA kernels, and none are built"
else
    stage build 150 $benchmark env FORCE_CUDA=1 QUERYDET_REQUIRE_EXTENSION=1 "$PYTHON" setup.py build_ext --inplace
fi

tests="tests/ops/test_ms_deform_attn_cuda_gpu.py tests/ops/test_suppression_gpu.py"
if [ -n "$dry" ]; then
    stage tests 120 $benchmark "$PYTHON" -m pytest -q --collect-only -m gpu $tests
else
    stage tests 130 $benchmark "$PYTHON" -m pytest -q --maxfail=20 --no-header -m gpu $tests
fi

# only our kernels are watched, where the tool can choose
watched=
if command -v compute-sanitizer >/dev/null && compute-sanitizer --help 2>&1 | grep -q -e --kernel-regex; then
    watched="--kernel-regex kns=querydet"
fi
for tool in memcheck racecheck initcheck synccheck; do
    if [ -n "$dry" ]; then
        leave_out "$tool" "dry run: compute-sanitizer needs a GPU"
    elif ! command -v compute-sanitizer >/dev/null; then
        leave_out "$tool" "no compute-sanitizer on PATH"
    else
        # the allocator of torch hides where a tensor ends; without it every tensor is an allocation of its own
        stage "$tool" 40 $((benchmark + 40)) env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 9 \
            $watched "$PYTHON" benchmarks/operator_gpu.py --tiny
    fi
done

if [ -n "$dry" ]; then
    leave_out ceilings "dry run: ceilings are those of a GPU"
else
    program=${CEILINGS:-}
    if [ -z "$program" ] && [ -x "${CUDA_HOME:-}/bin/nvcc" ]; then
        program="$folder/ceilings"
        stage build_ceilings 60 $benchmark "$CUDA_HOME/bin/nvcc" -O3 -std=c++17 -arch=native benchmarks/ceilings.cu -o "$program"
    fi
    if [ -n "$program" ] && [ -x "$program" ]; then
        stage ceilings 20 $benchmark sh -c '"$1" >"$2"' sh "$program" "$folder/ceilings.json"
    else
        leave_out ceilings "benchmarks/ceilings.cu was not compiled"
    fi
fi

stage benchmark 200 0 "$PYTHON" benchmarks/operator_gpu.py $dry --seconds 110 --output "$folder/benchmark.json"

if [ -n "$dry" ]; then OUTPUT=${OUTPUT:-$folder/operator_gpu.json}; fi
"$PYTHON" benchmarks/gpu_report.py collect "$folder" "${OUTPUT:-benchmarks/results/operator_gpu.json}" $dry || failures=1
exit $failures
