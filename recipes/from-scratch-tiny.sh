#!/usr/bin/env bash
# A model of about 7 million parameters from nothing to PPO's report and a chat, meant for 15 minutes on two cores. It learns
# to answer in the shop's form and little else: a check of the whole way, not an assistant. SMOKE=1: one of 1 million in
# 40 s to 2.5 minutes of processor time, which learns nothing.
. "$(dirname "${BASH_SOURCE[0]}")/smoke.sh"
export TEXTS="${TEXTS:-en_docs.jsonl.xz zh_docs.jsonl.xz libreoffice_help_en_zh.jsonl.xz}" STEPS="${STEPS:-exact,language,quality}"
export VOCABULARY="${VOCABULARY:-8192}" CHARACTERS="${CHARACTERS:-5000000}" DEPTH="${DEPTH:-4}" TOKENS="${TOKENS:-1500K}"
export SETTINGS="${SETTINGS:-pretrain.evals=4 data.demonstrations=600 data.ranking_prompts=150 data.ppo_prompts=2000 data.eval_prompts=60 \
sft.epochs=3 sft.optimizer.lr=1e-3 sft.rows.row_tokens=512 sample.max_tokens=48 reward.optimizer.lr=3e-4 \
reward.rows.row_tokens=512 ppo.iterations=4 ppo.rollouts.max_tokens=48 ppo.rows.row_tokens=512 \
ppo.selection.eval_prompts=32 ppo.selection.eval_every=2 eval.prompts=60 eval.max_tokens=48 \
${SMOKE_SETTINGS:-}}"
exec "$(dirname "${BASH_SOURCE[0]}")/from-scratch.sh"
