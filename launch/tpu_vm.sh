#!/usr/bin/env bash
# Trains on a TPU VM: makes it where there is none, installs this checkout's
# last commit, and runs main.py there. The same command goes on with the run.
#
#   launch/tpu_vm.sh my-tpu us-central1-a -- --stage=finetune \
#     --dataset=gs://bucket/photos --workdir=gs://bucket/runs/one
#
# ACCELERATOR_TYPE and RUNTIME_VERSION say what is made; those below are of
# Google's page `Create Cloud TPU VMs`.
#
# A slice of several hosts (--pod before the name) is set up on all of them and
# trained on by the first: the others run the TensorFlow server of their image.
# So RUNTIME_VERSION has to be one of tpu-vm-tf-*-pod*, with the TensorFlow of
# launch/requirements-tpu.txt; `gcloud compute tpus versions list` shows them.
#
# Ctrl-C and SIGTERM are passed on: training saves and stops. The TPU is not
# deleted, and costs until it is; the last line says how.
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

# A TPU is looked up by its name with Google's client, which TensorFlow asks for.
client='.venv/bin/pip install -q cloud-tpu-client'
# Ubuntu has no venv of its own accord. No extra: see the requirements file.
on all 'mkdir -p trainer && tar -xzf trainer.tar.gz -C trainer && cd trainer &&
  { python3 -m venv .venv ||
    { sudo apt-get -qq update && sudo apt-get -qq install -y python3-venv &&
      python3 -m venv .venv; }; } &&
  .venv/bin/pip install -q -r launch/requirements-tpu.txt &&
  .venv/bin/pip install -q --no-deps .'"${pod:+ && $client}"

if [[ $pod ]]; then
  # The libtpu of each host belongs to the server there.
  printf -v environment 'TPU_NAME=%q TPU_LOAD_LIBRARY=0' "$name"
  set -- --strategy=tpu --tpu="$name" "$@"
else
  # PJRT, with the libtpu that was installed.
  environment='TPU_NAME=local PJRT_DEVICE=TPU'
  environment+=' NEXT_PLUGGABLE_DEVICE_USE_C_API=true'
  environment+=" TF_PLUGGABLE_DEVICE_LIBRARY_PATH=\$(.venv/bin/python -c \
    'import libtpu; print(libtpu.get_library_path())')"
  set -- --strategy=tpu --tpu=local "$@"
fi
printf -v arguments ' %q' "$@"

# shellcheck disable=SC2329  # Called by the trap.
stop() {
  # shellcheck disable=SC2016  # Expanded there.
  on 0 'kill -TERM "$(cat trainer.pid)"' < /dev/null || true
}
trap stop INT TERM

# Away from the terminal's Ctrl-C, which would end ssh and not the training.
remote="echo \$\$ > trainer.pid && cd trainer &&"
remote+=" exec env $environment .venv/bin/python main.py$arguments"
setsid gcloud compute tpus tpu-vm ssh "$name" --worker=0 --zone="$zone" \
  --command="$remote" < /dev/null &
child=$!
# A signal that is passed on ends a wait before the child has ended.
while true; do
  wait "$child" && status=0 || status=$?
  kill -0 "$child" 2> /dev/null || break
done
echo "gcloud compute tpus tpu-vm delete $name --zone=$zone" >&2
exit "$status"
