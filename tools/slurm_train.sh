#!/usr/bin/env bash
# Train on a slurm cluster:
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [SRUN_ARGS=...] bash tools/slurm_train.sh PARTITION JOB CONFIG [arguments of tools/train.py]
# Slurm warns WARNING (120) seconds before the time is up, and training saves a checkpoint. With REQUEUE=1 the job is
# submitted by sbatch, goes back into the queue by itself, and resumes from that checkpoint.
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

if [ "${REQUEUE:-0}" = 1 ]; then
    # training answers the warning with a checkpoint and status 143, and the job goes back into the queue
    printf -v QUOTED '%q ' "${COMMAND[@]}" --resume
    sbatch "${WHERE[@]}" --requeue --signal="USR1@$WARNING" --open-mode=append --wrap \
        "srun --kill-on-bad-exit=0 $QUOTED; status=\$?; [ \$status = 143 ] && scontrol requeue \$SLURM_JOB_ID; exit \$status"
else
    srun "${WHERE[@]}" --signal="USR1@$WARNING" --kill-on-bad-exit=1 "${COMMAND[@]}"
fi
