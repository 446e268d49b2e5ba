#!/usr/bin/env bash
# For one GPU: 12 layers, about 135 million parameters, 2 billion tokens. TEXTS names your text, some 2.5 GB, of which each
# document is read at most four times; DATA/pretrain has a tenth of it. Run whole with SMOKE=1 alone.
. "$(dirname "${BASH_SOURCE[0]}")/smoke.sh"
export TEXTS="${TEXTS:?name your text, some 2.5 GB for 2 billion tokens: files or folders, with spaces between}" STEPS="${STEPS:-exact,language,quality,near}"
export VOCABULARY="${VOCABULARY:-32768}" CHARACTERS="${CHARACTERS:-50000000}" DEPTH="${DEPTH:-12}" TOKENS="${TOKENS:-2B}"
export SETTINGS="${SETTINGS:-pretrain.context=1024 pretrain.pass_tokens=32768 sft.epochs=2 sft.optimizer.lr=1e-4 ppo.iterations=20 \
${SMOKE_SETTINGS:-}}"
exec "$(dirname "${BASH_SOURCE[0]}")/from-scratch.sh"
