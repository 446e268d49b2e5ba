#!/usr/bin/env bash
# For one GPU: 12 layers, about 135 million parameters, 2 billion tokens; bring more text than ../shared/data has, a folder
# of it in TEXTS. Written with the verbs of from-scratch-tiny.sh and NOT run yet.
. "$(dirname "${BASH_SOURCE[0]}")/smoke.sh"
export TEXTS="${TEXTS:-en_openstax_ccby.jsonl.xz en_books_public_domain.jsonl.xz en_docs.jsonl.xz zh_lctt_tech.jsonl.xz \
zh_docs.jsonl.xz zh_history_modern.jsonl.xz}" STEPS="${STEPS:-exact,language,quality,near}"
export VOCABULARY="${VOCABULARY:-32768}" CHARACTERS="${CHARACTERS:-50000000}" DEPTH="${DEPTH:-12}" TOKENS="${TOKENS:-2B}"
export SETTINGS="${SETTINGS:-pretrain.context=1024 pretrain.pass_tokens=32768 sft.epochs=2 sft.optimizer.lr=1e-4 ppo.iterations=20 \
${SMOKE_SETTINGS:-}}"
exec "$(dirname "${BASH_SOURCE[0]}")/from-scratch.sh"
