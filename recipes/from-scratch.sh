#!/usr/bin/env bash
# From raw text to an assistant that rankings steered: corpus, tokenizer, pretraining, SFT, ranking, reward model, PPO, report.
# Sizes come from from-scratch-tiny.sh, -small.sh or -speedrun.sh, which call this; any of them can be set from outside:
#
#     TOKENS=1M DEPTH=3 WORKSPACE=/tmp/w recipes/from-scratch-tiny.sh
#
# Run it again after an interruption: what is finished is not made twice, what is not goes on.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
WORKSPACE="${WORKSPACE:-$ROOT/from-scratch}"
DATA="${DATA:-$ROOT/../shared/data}"
STEERSMAN="${STEERSMAN:-$ROOT/.venv/bin/steersman}"
TEXTS="${TEXTS:?sizes come from from-scratch-tiny.sh, -small.sh or -speedrun.sh}"   # files of DATA/pretrain, with spaces between
SETTINGS="${SETTINGS:-}"              # further --set of the workspace, with spaces between
PROCESSES="${PROCESSES:-1}"           # of the stages after pretraining

command -v "$STEERSMAN" >/dev/null || { echo "error: $STEERSMAN: not there; run 'make test' in $ROOT first, or set STEERSMAN" >&2; exit 2; }
began=$SECONDS

if [ ! -f "$WORKSPACE/steersman.toml" ]; then
    given=()
    for setting in $SETTINGS; do given+=(--set "$setting"); done
    "$STEERSMAN" init "$WORKSPACE" --base ours --set project.domain=shop "${given[@]}"
fi
cd "$WORKSPACE"

sources=()
for name in $TEXTS; do sources+=("${name%%.*}=$DATA/pretrain/$name"); done
"$STEERSMAN" corpus build "${sources[@]}" --into text --steps "$STEPS"
[ -d tokenizers/ours ] || "$STEERSMAN" tokenizer train text --into ours --vocabulary "$VOCABULARY" --characters "$CHARACTERS"
"$STEERSMAN" pretrain text --tokenizer ours --depth "$DEPTH" --tokens "$TOKENS" --smoothing 0.7 --into ours

[ -d data ] && ls data/*.jsonl >/dev/null 2>&1 || "$STEERSMAN" data import shop
"$STEERSMAN" run --simulated --processes "$PROCESSES"
echo "from raw text to the report in $((SECONDS - began)) s; steersman serve -w $WORKSPACE opens the chat"
