#!/usr/bin/env bash
# Trains on a TPU VM: creates the VM if it is missing, installs this checkout's
# last commit on it, and runs main.py there. The same command resumes the run.
#
#   launch/tpu_vm.sh my-tpu us-central1-a -- --stage=finetune \
#     --dataset=gs://bucket/photos --workdir=gs://bucket/runs/one
#
# The environment variables ACCELERATOR_TYPE and RUNTIME_VERSION choose the VM;
# the defaults below are from Google's page "Create Cloud TPU VMs".
#
# With --pod before the name, the VM is a slice of several hosts. The script
# installs the trainer on all hosts and runs main.py on the first one. The other
# hosts run the TensorFlow server of their image. So RUNTIME_VERSION must be one of
# tpu-vm-tf-*-pod*, with the TensorFlow version of launch/requirements-tpu.txt;
# `gcloud compute tpus versions list` lists the versions.
#
# Ctrl-C and SIGTERM are forwarded: the training saves and stops. The script does
# not delete the TPU, which costs money until you delete it; the last line of
# output is the command for this.
set -euo pipefail

pod=
if [[ ${1:-} == --pod ]]; then
  pod=1
  shift
fi
if (($# < 4)) || [[ $1 == -* || $2 == -* || $3 != -- ]]; then
  echo "usage: $0 [--pod] NAME ZONE -- --flag=value ..." >&2
  exit 2
fi
name=$1 zone=$2
shift 3
accelerator=${ACCELERATOR_TYPE:-v5litepod-8}
version=${RUNTIME_VERSION:-v2-alpha-tpuv5-lite}
if [[ $pod && $version != tpu-vm-tf-*-pod* ]]; then
  echo "error: RUNTIME_VERSION=$version: --pod needs one of tpu-vm-tf-*-pod*;" \
    "see gcloud compute tpus versions list --zone=$zone" >&2
  exit 2
fi

tpu() { # VERB ARGUMENTS
  local verb=$1
  shift
  gcloud compute tpus tpu-vm "$verb" "$@" --zone="$zone"
}

on() { # WORKER COMMAND
  tpu ssh "$name" --worker="$1" --command="$2"
}

if ! tpu describe "$name" > /dev/null 2>&1; then
  tpu create "$name" --accelerator-type="$accelerator" --version="$version"
fi

archive=$(mktemp -d)
trap 'rm -r "$archive"' EXIT
git -C "$(dirname "$0")/.." archive --output="$archive/trainer.tar.gz" HEAD
tpu scp "$archive/trainer.tar.gz" "$name": --worker=all

# TensorFlow needs Google's client to look up a TPU by its name.
client='.venv/bin/pip install -q cloud-tpu-client'
# Ubuntu's python3 may lack venv. --no-deps: see the requirements file.
on all 'mkdir -p trainer && tar -xzf trainer.tar.gz -C trainer && cd trainer &&
  { python3 -m venv .venv ||
    { sudo apt-get -qq update && sudo apt-get -qq install -y python3-venv &&
      python3 -m venv .venv; }; } &&
  .venv/bin/pip install -q -r launch/requirements-tpu.txt &&
  .venv/bin/pip install -q --no-deps .'"${pod:+ && $client}"

if [[ $pod ]]; then
  # On each host, the TensorFlow server uses libtpu.
  printf -v environment 'TPU_NAME=%q TPU_LOAD_LIBRARY=0' "$name"
  set -- --strategy=tpu --tpu="$name" "$@"
else
  # PJRT with the installed libtpu.
  environment='TPU_NAME=local PJRT_DEVICE=TPU'
  environment+=' NEXT_PLUGGABLE_DEVICE_USE_C_API=true'
  environment+=" TF_PLUGGABLE_DEVICE_LIBRARY_PATH=\$(.venv/bin/python -c \
    'import libtpu; print(libtpu.get_library_path())')"
  set -- --strategy=tpu --tpu=local "$@"
fi
printf -v arguments ' %q' "$@"

# shellcheck disable=SC2329  # Called by the trap.
stop() {
  # shellcheck disable=SC2016  # Expanded on the VM.
  on 0 'kill -TERM "$(cat trainer.pid)"' < /dev/null || true
}
trap stop INT TERM

# setsid: without it, Ctrl-C would end ssh but not the training.
remote="echo \$\$ > trainer.pid && cd trainer &&"
remote+=" exec env $environment .venv/bin/python main.py$arguments"
setsid gcloud compute tpus tpu-vm ssh "$name" --worker=0 --zone="$zone" \
  --command="$remote" < /dev/null &
child=$!
# A trapped signal ends `wait` before the child has ended.
while true; do
  wait "$child" && status=0 || status=$?
  kill -0 "$child" 2> /dev/null || break
done
echo "gcloud compute tpus tpu-vm delete $name --zone=$zone" >&2
exit "$status"
