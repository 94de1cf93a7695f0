#!/usr/bin/env bash
# Train on several GPUs (or, where there is none, CPU processes) of one or more machines:
#   bash tools/dist_train.sh CONFIG NPROC [arguments of tools/train.py]
# Several machines: set NNODES, NODE_RANK, MASTER_ADDR and PORT on each. PORT alone chooses the port on one machine.
# With MAX_RESTARTS=N a process that dies ends in a restart of all from the last whole checkpoint, up to N times. With
# NNODES=MIN:MAX machines may come and go; MASTER_ADDR is one that stays, and RDZV_ID names the launch, alike on each.
set -euo pipefail

if [ "$#" -lt 2 ]; then
    echo "usage: bash tools/dist_train.sh CONFIG NPROC [arguments of tools/train.py]" >&2
    exit 2
fi
CONFIG=$1
NPROC=$2
HERE=$(cd "$(dirname "$0")" && pwd)
PORT=${PORT:-${MASTER_PORT:-}}
RESTARTS=${MAX_RESTARTS:-0}
if [ "$RESTARTS" != 0 ] || [[ "${NNODES:-1}" == *:* ]]; then
    # a store of its own for each start: in a shared one processes find the addresses of those that have died
    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
fi
if [[ "${NNODES:-1}" == *:* ]] || { [ "$RESTARTS" != 0 ] && [ "${NNODES:-1}" != 1 ]; }; then
    ID=${RDZV_ID:-${SLURM_JOB_ID:-}}
    if [ -z "$ID" ]; then
        echo "NNODES=$NNODES with restarts: set RDZV_ID to a name of this launch, the same on every machine" >&2
        exit 2
    fi
    WHERE=(--nnodes="$NNODES" --rdzv_backend=c10d --rdzv_id="$ID"
           --rdzv_endpoint="${MASTER_ADDR:-127.0.0.1}:${PORT:-29500}")
elif [ -n "$PORT" ] || [ -n "${MASTER_ADDR:-}" ] || [ "${NNODES:-1}" != 1 ]; then
    WHERE=(--nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --master_addr="${MASTER_ADDR:-127.0.0.1}"
           --master_port="${PORT:-29500}")
else
    WHERE=(--standalone)  # picks a free port by itself
fi
WHERE+=(--max_restarts="$RESTARTS")
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
