#!/usr/bin/env bash
# The whole loop on English data that people made: Dolly and LIMA answers, HH-RLHF preferences.
#
#     recipes/human_en.sh                         # in human-en/, data from ../shared/data
#     WORKSPACE=/tmp/w DATA=/data recipes/human_en.sh
#
# Run it again after an interruption: what is finished is not made twice. Sizes are read when the workspace is made;
# to change them later, edit its steersman.toml or remove the workspace.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
WORKSPACE="${WORKSPACE:-$ROOT/human-en}"
DATA="${DATA:-$ROOT/../shared/data}"
STEERSMAN="${STEERSMAN:-$ROOT/.venv/bin/steersman}"
BASE="${BASE:-smollm2-135m}"

# One rule for every file: a record's place is a hash of its first user turn, so no test prompt is ever trained on.
SPLIT="0.85,0.05,0.10"
DOLLY="${DOLLY:-0}"                # demonstrations; 0 is all 991
LIMA="${LIMA:-400}"                # long answers, so not all 1020
RANKINGS="${RANKINGS:-0}"          # 0 is all 1798
ITERATIONS="${ITERATIONS:-10}"     # PPO rounds of 16 prompts with 4 answers each
EVAL_PROMPTS="${EVAL_PROMPTS:-150}"
TRAIN_LAYERS="${TRAIN_LAYERS:-10}" # of 30; 0 trains the whole model

if [ ! -x "$STEERSMAN" ]; then
    echo "error: $STEERSMAN: not there; run 'make test' in $ROOT first, or set STEERSMAN" >&2
    exit 2
fi
PYTHON="${PYTHON:-$(dirname "$STEERSMAN")/python}"
began=$SECONDS

if [ ! -f "$WORKSPACE/steersman.toml" ]; then
    "$STEERSMAN" init "$WORKSPACE" --language en --name harbour --base "$BASE" \
        --set project.domain=none \
        --set sft.epochs=1 --set sft.lr=2e-4 --set sft.batch_tokens=4096 --set sft.row_tokens=768 \
        --set sft.long_dialogues=skip --set sft.train_layers="$TRAIN_LAYERS" \
        --set reward.epochs=1 --set reward.lr=2e-4 --set reward.holdout_fraction=0.25 --set reward.train_layers="$TRAIN_LAYERS" \
        --set ppo.iterations="$ITERATIONS" --set ppo.prompts_per_iteration=16 --set ppo.answers_per_prompt=4 \
        --set ppo.max_tokens=96 --set ppo.minibatches=2 --set ppo.lr=2e-4 --set ppo.critic_lr=2e-4 \
        --set ppo.train_layers="$TRAIN_LAYERS" --set ppo.lam=1.0 --set ppo.critic_init=sft \
        --set ppo.step_kl=0.3 --set ppo.critic_step=0.3 \
        --set ppo.warmup_iterations=0 --set ppo.group_baseline=true --set ppo.value_clip_range=0.0 \
        --set ppo.no_eos_reward=-2.0 --set ppo.eval_every=5 --set ppo.eval_prompts=96 \
        --set eval.prompts="$EVAL_PROMPTS" --set eval.max_tokens=96 --set eval.batch_prompts=50
fi

prepare() { "$PYTHON" "$ROOT/recipes/prepare.py" "$DATA/$1" "$WORKSPACE/prepared/$2.jsonl" "${@:3}"; }
import_as() { "$STEERSMAN" data import "$WORKSPACE/prepared/$1.jsonl" -w "$WORKSPACE" --split "$SPLIT" "${@:2}"; }

prepare sft/en_dolly_hhrlhf_1k.jsonl.xz dolly --unwrap --records "$DOLLY"
prepare sft/en_lima_1k.jsonl.xz lima --records "$LIMA"
prepare pref/en_hh_harmless_train1800.jsonl.xz hh --records "$RANKINGS"
import_as dolly --kind demonstrations --skip-bad
import_as lima --kind demonstrations --skip-bad
import_as hh --kind rankings --skip-bad --name hh-rankings
import_as hh --kind prompts --purpose ppo --skip-bad --name hh-prompts
"$STEERSMAN" data list -w "$WORKSPACE"
if [ "${ONLY_DATA:-0}" = 1 ]; then exit 0; fi

for stage in sft reward ppo eval report; do
    started=$SECONDS
    "$STEERSMAN" "$stage" -w "$WORKSPACE"
    echo "$stage: $((SECONDS - started)) s" >&2
done
echo "human_en: $((SECONDS - began)) s; chat with the result: $STEERSMAN serve -w $WORKSPACE --model policy" >&2
