#!/bin/sh
# Makes the workspace on the first start, then runs the verb. Tables of a new version are made by `steersman store migrate`.
set -eu
# Links of invitations lead to the public name, where STEERSMAN_HOST says it.
[ -e steersman.toml ] || steersman init . --name "${STEERSMAN_NAME:-assistant}" --set project.domain=none \
    ${STEERSMAN_HOST:+--set "accounts.public_url=https://$STEERSMAN_HOST"} >&2
exec steersman "$@"
