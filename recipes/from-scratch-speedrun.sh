#!/usr/bin/env bash
# For a machine with eight GPUs: 20 layers, about 520 million parameters. Pretraining itself is computed by one process so
# far (Muon needs whole matrices); the stages after it by eight. Bring text of your own in TEXTS. NOT run yet.
. "$(dirname "${BASH_SOURCE[0]}")/smoke.sh"
export TEXTS="${TEXTS:-en_openstax_ccby.jsonl.xz en_books_public_domain.jsonl.xz en_docs.jsonl.xz zh_lctt_tech.jsonl.xz \
zh_docs.jsonl.xz zh_history_modern.jsonl.xz}" STEPS="${STEPS:-exact,language,quality,near}"
export VOCABULARY="${VOCABULARY:-65536}" CHARACTERS="${CHARACTERS:-100000000}" DEPTH="${DEPTH:-20}" TOKENS="${TOKENS:-8B}"
export SETTINGS="${SETTINGS:-pretrain.context=2048 pretrain.pass_tokens=65536 sft.epochs=2 sft.optimizer.lr=1e-4 ppo.iterations=40 \
${SMOKE_SETTINGS:-}}"
export PROCESSES="${PROCESSES:-8}"
exec "$(dirname "${BASH_SOURCE[0]}")/from-scratch.sh"
