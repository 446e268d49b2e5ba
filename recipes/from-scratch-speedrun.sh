#!/usr/bin/env bash
# For a machine with eight GPUs: 20 layers, about 520 million parameters, 8 billion tokens. Pretraining itself is computed by
# one process so far (Muon needs whole matrices); the stages after it by eight. TEXTS names your text, some 10 GB, of which
# each document is read at most four times. NOT run yet.
. "$(dirname "${BASH_SOURCE[0]}")/smoke.sh"
export TEXTS="${TEXTS:?name your text, some 10 GB for 8 billion tokens: files or folders, with spaces between}" STEPS="${STEPS:-exact,language,quality,near}"
export VOCABULARY="${VOCABULARY:-65536}" CHARACTERS="${CHARACTERS:-100000000}" DEPTH="${DEPTH:-20}" TOKENS="${TOKENS:-8B}"
export SETTINGS="${SETTINGS:-pretrain.context=2048 pretrain.pass_tokens=65536 sft.epochs=2 sft.optimizer.lr=1e-4 ppo.iterations=40 \
${SMOKE_SETTINGS:-}}"
export PROCESSES="${PROCESSES:-8}"
exec "$(dirname "${BASH_SOURCE[0]}")/from-scratch.sh"
