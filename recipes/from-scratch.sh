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
TEXTS="${TEXTS:?sizes come from from-scratch-tiny.sh, -small.sh or -speedrun.sh}"   # files of DATA/pretrain, or whole paths, with spaces between
SETTINGS="${SETTINGS:-}"              # further --set of the workspace, with spaces between
PROCESSES="${PROCESSES:-1}"           # of the stages after pretraining

command -v "$STEERSMAN" >/dev/null || { echo "error: $STEERSMAN: not there; run 'make test' in $ROOT first, or set STEERSMAN" >&2; exit 2; }
# what was given from here must be found from the workspace too
[ -d "$DATA" ] && DATA="$(cd "$DATA" && pwd)"
case "$STEERSMAN" in */*) STEERSMAN="$(cd "$(dirname "$STEERSMAN")" && pwd)/$(basename "$STEERSMAN")";; esac
began=$SECONDS
clock="$(mktemp)"
trap 'rm -f "$clock"' EXIT
step() {  # what comes now, and what all before it took: wall-clock, and processor time (user, system)
    times > "$clock"
    echo; echo "== $1: $2"; echo "   so far $((SECONDS - began)) s, of the processor $(tail -1 "$clock")"
}

if [ ! -f "$WORKSPACE/steersman.toml" ]; then
    given=()
    for setting in $SETTINGS; do given+=(--set "$setting"); done
    "$STEERSMAN" init "$WORKSPACE" --base ours --set project.domain=shop "${given[@]}"
fi
cd "$WORKSPACE"

sources=()
for text in $TEXTS; do
    name="$(basename "$text")"; case "$text" in /*) ;; *) text="$DATA/pretrain/$text";; esac
    sources+=("${name%%.*}=$text")
done
step "1 of 5, corpus" "raw text of $TEXTS is cleaned ($STEPS) and kept by documents, with a report"
"$STEERSMAN" corpus build "${sources[@]}" --into text --steps "$STEPS"
step "2 of 5, tokenizer" "$VOCABULARY entries are learned from that text, and measured in bytes per token"
[ -d tokenizers/ours ] || "$STEERSMAN" tokenizer train text --into ours --vocabulary "$VOCABULARY" --characters "$CHARACTERS"
step "3 of 5, pretraining" "a decoder of $DEPTH layers learns to continue text from $TOKENS tokens; all else follows from these"
"$STEERSMAN" pretrain text --tokenizer ours --depth "$DEPTH" --tokens "$TOKENS" --smoothing 0.7 --into ours

step "4 of 5, data" "the generated shop: demonstrations, prompts to rank, prompts for PPO, test prompts nobody trains on"
[ -d data ] && ls data/*.jsonl >/dev/null 2>&1 || "$STEERSMAN" data import shop
step "5 of 5, the loop" "SFT on the demonstrations, 4 answers to each prompt, rankings by the rule judge (simulated), a reward model of
   them, PPO against it, and a report that compares base, SFT and PPO on the test prompts"
"$STEERSMAN" run --simulated --processes "$PROCESSES"
step "done" "from raw text to the report"
asked="${ASK:-I want a cheap, quiet keyboard. What do you have?}"
if [ -f current.json ]; then chosen=(); told="the promoted model"; else chosen=(--model sft); told="SFT's model: the gate promoted none"; fi
echo "> $asked   ($told)"
"$STEERSMAN" chat ${chosen[@]+"${chosen[@]}"} -m "$asked"
echo "steersman serve -w $WORKSPACE opens the chat in a browser; the report is $WORKSPACE/rounds/001/report/report.html"
