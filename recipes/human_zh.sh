#!/usr/bin/env bash
# The whole loop in Chinese: demonstrations of mixed origin, rankings by OpenAssistant's volunteers.
#
#     recipes/human_zh.sh                         # in human-zh/, data from ../shared/data
#     WORKSPACE=/tmp/w DATA=/data recipes/human_zh.sh
#
# Run it again after an interruption: what is finished is not made twice. Sizes are read when the workspace is made;
# to change them later, edit its steersman.toml or remove the workspace.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
WORKSPACE="${WORKSPACE:-$ROOT/human-zh}"
DATA="${DATA:-$ROOT/../shared/data}"
STEERSMAN="${STEERSMAN:-$ROOT/.venv/bin/steersman}"
BASE="${BASE:-gemma3-270m}"

# One rule for every file: a record's place is a hash of its first user turn, so no test prompt is ever trained on.
SPLIT="0.80,0.05,0.15"
MISC="${MISC:-700}"                   # demonstrations of at most LONGEST characters from zh_misc
SHAREGPT="${SHAREGPT:-200}"           # dialogues of at most LONGEST characters from ShareGPT
LONGEST="${LONGEST:-320}"
RANKINGS="${RANKINGS:-500}"           # prompts with all their answers, at most LONGEST_RANKING characters together
LONGEST_RANKING="${LONGEST_RANKING:-900}"
QUESTIONS="${QUESTIONS:-1100}"        # prompts for PPO, its validation, and the test
ITERATIONS="${ITERATIONS:-8}"         # PPO rounds of 16 prompts with 2 answers each
EVAL_PROMPTS="${EVAL_PROMPTS:-150}"
TRAIN_LAYERS="${TRAIN_LAYERS:-10}"    # of 18; 0 trains the whole model

if [ ! -x "$STEERSMAN" ]; then
    echo "error: $STEERSMAN: not there; run 'make test' in $ROOT first, or set STEERSMAN" >&2
    exit 2
fi
PYTHON="${PYTHON:-$(dirname "$STEERSMAN")/python}"
began=$SECONDS

if [ ! -f "$WORKSPACE/steersman.toml" ]; then
    "$STEERSMAN" init "$WORKSPACE" --language zh --name 小舵 --base "$BASE" \
        --set project.domain=none \
        --set sft.epochs=1 --set sft.lr=5e-5 --set sft.batch_tokens=2048 --set sft.row_tokens=768 \
        --set sft.long_dialogues=skip --set sft.train_layers="$TRAIN_LAYERS" \
        --set reward.epochs=1 --set reward.lr=2e-4 --set reward.holdout_fraction=0.25 \
        --set reward.train_layers="$TRAIN_LAYERS" \
        --set ppo.iterations="$ITERATIONS" --set ppo.prompts_per_iteration=16 --set ppo.answers_per_prompt=2 \
        --set ppo.max_tokens=64 --set ppo.minibatches=2 --set ppo.lr=2e-4 --set ppo.critic_lr=2e-4 \
        --set ppo.train_layers="$TRAIN_LAYERS" --set ppo.lam=1.0 --set ppo.critic_init=sft \
        --set ppo.step_kl=0.5 --set ppo.critic_step=0.3 \
        --set ppo.warmup_iterations=0 --set ppo.group_baseline=true --set ppo.value_clip_range=0.0 \
        --set ppo.no_eos_reward=-2.0 --set ppo.eval_every=4 --set ppo.eval_prompts=96 \
        --set eval.prompts="$EVAL_PROMPTS" --set eval.max_tokens=64 --set eval.batch_prompts=50
fi

prepare() { "$PYTHON" "$ROOT/recipes/prepare.py" "$DATA/$1" "$WORKSPACE/prepared/$2.jsonl" "${@:3}"; }
import_as() { "$STEERSMAN" data import "$WORKSPACE/prepared/$1.jsonl" -w "$WORKSPACE" --split "$SPLIT" "${@:2}"; }

# zh_misc's OpenAssistant part holds the best answers to the very prompts that are ranked: a reward model that grew
# out of a model which learned them could not be tested on those prompts, so it is left out.
prepare sft/zh_misc.jsonl.xz misc --source alpaca_zh_demo_gpt4 --source belle_1k \
    --most-characters "$LONGEST" --records "$MISC"
prepare sft/zh_sharegpt_1k.jsonl.xz sharegpt --most-characters "$LONGEST" --records "$SHAREGPT"
prepare pref/zh_oasst_rank_775.jsonl.xz oasst --most-characters "$LONGEST_RANKING" --records "$RANKINGS"
prepare ppo_prompts/zh_questions_60k.jsonl.xz questions --records "$QUESTIONS"
import_as misc --kind demonstrations --skip-bad
import_as sharegpt --kind demonstrations --skip-bad --trim-last-user
import_as oasst --kind rankings --skip-bad --name oasst-rankings
import_as questions --kind prompts --purpose ppo --skip-bad --name questions
"$STEERSMAN" data list -w "$WORKSPACE"
if [ "${ONLY_DATA:-0}" = 1 ]; then exit 0; fi

for stage in sft reward ppo eval report; do
    started=$SECONDS
    "$STEERSMAN" "$stage" -w "$WORKSPACE"
    echo "$stage: $((SECONDS - started)) s" >&2
done
echo "human_zh: $((SECONDS - began)) s; chat with the result: $STEERSMAN serve -w $WORKSPACE --model policy" >&2
