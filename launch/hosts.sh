#!/usr/bin/env bash
# Trains on several hosts: starts one process on each by ssh.
#
#   launch/hosts.sh a:2222 b:2222 -- --stage=finetune --dataset=/shared/photos \
#     --workdir=/shared/runs/one
#
# The process on the first host is the chief, which writes and prints. This
# checkout, the data and the workdir must have the same path on every host. The
# command runs in the current folder, with $PYTHON or else each host's `python`.
# Ctrl-C and SIGTERM are forwarded: all processes save and stop, and the same
# command resumes the run.
set -euo pipefail

addresses=()
while (($#)) && [[ $1 != -- ]]; do
  addresses+=("$1")
  shift
done
if ((${#addresses[@]} < 2 || $# < 2)); then
  echo "usage: $0 HOST:PORT HOST:PORT ... -- --flag=value ..." >&2
  exit 2
fi
shift

quoted=$(printf '"%s",' "${addresses[@]}")
cluster="{\"worker\": [${quoted%,}]}"
printf -v command ' %q' "${PYTHON:-python}" main.py --strategy=multi_worker "$@"

pid_file() { # ADDRESS
  echo "/tmp/trainer-${USER:-user}-${1##*:}.pid"
}

# shellcheck disable=SC2329  # Called by the trap.
stop() {
  # A signal to one process stops all of them after the same step.
  chief=${addresses[0]}
  ssh -o BatchMode=yes "${chief%:*}" "kill -TERM \$(cat $(pid_file "$chief"))" ||
    true
}
trap stop INT TERM

children=()
for index in "${!addresses[@]}"; do
  address=${addresses[index]}
  config="{\"cluster\": $cluster, \"task\": {\"type\": \"worker\", \"index\": $index}}"
  printf -v remote 'cd %q && echo $$ > %q && TF_CONFIG=%q exec%s' \
    "$PWD" "$(pid_file "$address")" "$config" "$command"
  # setsid: without it, Ctrl-C would end ssh but not the remote process.
  # BatchMode: fail instead of asking for a password.
  setsid ssh -o BatchMode=yes "${address%:*}" "$remote" < /dev/null &
  children+=($!)
done

status=0
for child in "${children[@]}"; do
  # A trapped signal ends `wait` before the child has ended.
  while true; do
    wait "$child" && ended=0 || ended=$?
    kill -0 "$child" 2> /dev/null || break
  done
  ((ended > status)) && status=$ended
done
exit "$status"
