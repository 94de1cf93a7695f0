#!/usr/bin/env bash
# Train on several GPUs (or, where there is none, CPU processes) of one or more machines:
#   bash tools/dist_train.sh CONFIG NPROC [arguments of tools/train.py]
# Several machines: set NNODES, NODE_RANK, MASTER_ADDR and PORT on each. PORT alone chooses the port on one machine.
set -euo pipefail

if [ "$#" -lt 2 ]; then
    echo "usage: bash tools/dist_train.sh CONFIG NPROC [arguments of tools/train.py]" >&2
    exit 2
fi
CONFIG=$1
NPROC=$2
HERE=$(cd "$(dirname "$0")" && pwd)
PORT=${PORT:-${MASTER_PORT:-}}
if [ -n "$PORT" ] || [ -n "${MASTER_ADDR:-}" ] || [ "${NNODES:-1}" != 1 ]; then
    WHERE=(--nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --master_addr="${MASTER_ADDR:-127.0.0.1}"
           --master_port="${PORT:-29500}")
else
    WHERE=(--standalone)  # picks a free port by itself
fi
export PYTHONPATH="$HERE/..${PYTHONPATH:+:$PYTHONPATH}"
export TORCHELASTIC_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1

# a signal to this script reaches the processes, and the status says which it was: 143, after Ctrl-C 130
STATUS=''
trap 'STATUS=143; kill -TERM "$CHILD"' TERM
trap 'STATUS=143; kill -USR1 "$CHILD"' USR1
trap 'STATUS=130; [ -t 0 ] || kill -INT "$CHILD"' INT  # a terminal has sent it to all already
"${PYTHON:-python}" -m torch.distributed.run "${WHERE[@]}" --nproc_per_node="$NPROC" \
    "$HERE/train.py" "$CONFIG" --launcher pytorch "${@:3}" &
CHILD=$!
wait "$CHILD" && CODE=0 || CODE=$?
while kill -0 "$CHILD" 2>/dev/null; do wait "$CHILD" && CODE=0 || CODE=$?; done  # a signal had ended the wait
exit "${STATUS:-$CODE}"
