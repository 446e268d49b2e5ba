#!/bin/sh
# Makes the workspace on the first start, then runs the verb. Tables of a new version are made by `steersman store migrate`.
set -eu
[ -e steersman.toml ] || steersman init . --name "${STEERSMAN_NAME:-assistant}" --set project.domain=none >&2
exec steersman "$@"
