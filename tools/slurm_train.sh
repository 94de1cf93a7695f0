#!/usr/bin/env bash
# Train on a slurm cluster:
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [SRUN_ARGS=...] bash tools/slurm_train.sh PARTITION JOB CONFIG [arguments of tools/train.py]
# Slurm warns WARNING (120) seconds before the time is up, and training saves a checkpoint. With REQUEUE=1 the job is
# submitted by sbatch, goes back into the queue by itself, and resumes from that checkpoint.
# With MAX_RESTARTS=N a process, or with NNODES=MIN:MAX a machine, that fails ends in a restart of the others from the last
# whole checkpoint: tools/dist_train.sh runs once on every machine.
set -euo pipefail

if [ "$#" -lt 3 ]; then
    echo "usage: bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]" >&2
    exit 2
fi
PARTITION=$1
JOB_NAME=$2
CONFIG=$3
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
HERE=$(cd "$(dirname "$0")" && pwd)

WARNING=${WARNING:-120}
export PYTHONPATH="$HERE/..${PYTHONPATH:+:$PYTHONPATH}"
# shellcheck disable=SC2206
WHERE=(-p "$PARTITION" --job-name="$JOB_NAME" --gres=gpu:"$GPUS_PER_NODE" --ntasks="$GPUS"
       --ntasks-per-node="$GPUS_PER_NODE" --cpus-per-task="${CPUS_PER_TASK:-5}" ${SRUN_ARGS:-})
COMMAND=("${PYTHON:-python}" -u "$HERE/train.py" "$CONFIG" --launcher slurm "${@:4}")
ONE_FAILS=--kill-on-bad-exit=1
if [ "${MAX_RESTARTS:-0}" != 0 ] || [ -n "${NNODES:-}" ]; then
    NODES=$(((GPUS + GPUS_PER_NODE - 1) / GPUS_PER_NODE))
    export NNODES=${NNODES:-$NODES} MAX_RESTARTS=${MAX_RESTARTS:-0} PORT=${PORT:-29500}
    # shellcheck disable=SC2206
    WHERE=(-p "$PARTITION" --job-name="$JOB_NAME" --gres=gpu:"$GPUS_PER_NODE" --nodes="${NNODES##*:}"
           --ntasks-per-node=1 --cpus-per-task="$((GPUS_PER_NODE * ${CPUS_PER_TASK:-5}))" ${SRUN_ARGS:-})
    # shellcheck disable=SC2016
    START='export MASTER_ADDR=$(scontrol show hostname "$SLURM_NODELIST" | head -n 1) NODE_RANK=$SLURM_NODEID; exec bash "$@"'
    COMMAND=(bash -c "$START" torchrun "$HERE/dist_train.sh" "$CONFIG" "$GPUS_PER_NODE" "${@:4}")
    ONE_FAILS=--kill-on-bad-exit=0
fi

if [ "${REQUEUE:-0}" = 1 ]; then
    # training answers the warning with a checkpoint and status 143, and the job goes back into the queue
    printf -v QUOTED '%q ' "${COMMAND[@]}" --resume
    sbatch "${WHERE[@]}" --requeue --signal="USR1@$WARNING" --open-mode=append --wrap \
        "srun --kill-on-bad-exit=0 $QUOTED; status=\$?; [ \$status = 143 ] && scontrol requeue \$SLURM_JOB_ID; exit \$status"
else
    srun "${WHERE[@]}" --signal="USR1@$WARNING" "$ONE_FAILS" "${COMMAND[@]}"
fi
