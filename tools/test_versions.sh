#!/usr/bin/env bash
# Runs the tests with each supported version of TensorFlow, each in its own
# virtual environment, and prints a table.
#
#   tools/test_versions.sh                    2.20 and 2.21, without slow tests
#   tools/test_versions.sh --slow 2.20        all tests with 2.20
#
# Environments and logs are in $VENVS, outside the checkout (a folder under /tmp
# if unset). A second run reuses the environments, so it is fast but does not
# install newer releases. $PYTHON creates them; $WORKERS (2) processes run tests.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

slow=()
select=(-m 'not slow')
if [[ ${1:-} == --slow ]]; then
  slow=(--slow)
  select=()
  shift
fi
if [[ ${1:-} == -* ]]; then
  echo "usage: $0 [--slow] [VERSION ...]" >&2
  exit 2
fi
versions=("$@")
((${#versions[@]})) || versions=(2.20 2.21)
folder=${VENVS:-/tmp/trainer-versions-$(id -u)}
mkdir -p "$folder" || exit 1

rows=() failed=0
for version in "${versions[@]}"; do
  venv=$folder/$version log=$folder/$version.log
  began=$SECONDS
  if "${PYTHON:-python3}" -m venv "$venv" > "$log" 2>&1 &&
    "$venv/bin/pip" install -q "tensorflow==$version.*" -e '.[test]' >> "$log" 2>&1; then
    found=$("$venv/bin/python" - 2>> "$log" << 'END'
import importlib.metadata as m
print(*(m.version(name) for name in ("tensorflow", "keras", "numpy")))
END
    )
    PATH="$venv/bin:$PATH" "$venv/bin/python" -m pytest -q -p no:cacheprovider \
      -n "${WORKERS:-2}" "${select[@]}" >> "$log" 2>&1
    status=$?
    said=$(tail -n 1 "$log")
  else
    found='- - -' status=1 said="not installed: $(tail -n 1 "$log")"
  fi
  ((status == 0)) || failed=1
  read -r tensorflow keras numpy <<< "$found"
  rows+=("$(printf '%-10s %-10s %-8s %-8s %5d s  %s' "$version" "$tensorflow" \
    "$keras" "$numpy" $((SECONDS - began)) "$said")")
  echo "${rows[-1]}  ($log)" >&2
done

printf '%-10s %-10s %-8s %-8s %7s  %s\n' asked tensorflow keras numpy time \
  "pytest ${slow[*]}"
printf '%s\n' "${rows[@]}"
exit "$failed"
