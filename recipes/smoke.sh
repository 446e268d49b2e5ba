# Sizes at which each from-scratch recipe runs whole in minutes with SMOKE=1, to see that it does; nothing is learned.
if [ -n "${SMOKE:-}" ]; then
    export TEXTS="${TEXTS:-libreoffice_help_en_zh.jsonl.xz}" STEPS="${STEPS:-exact,language}" PROCESSES="${PROCESSES:-1}"
    export VOCABULARY="${VOCABULARY:-2048}" CHARACTERS="${CHARACTERS:-500000}" DEPTH="${DEPTH:-2}" TOKENS="${TOKENS:-150K}"
    # behind a recipe's own settings, of which the last counts
    SMOKE_SETTINGS="pretrain.evals=2 data.demonstrations=200 data.ranking_prompts=60 data.ppo_prompts=200 \
data.eval_prompts=30 sft.epochs=3 sft.optimizer.lr=2e-3 sft.rows.row_tokens=512 sample.max_tokens=32 \
reward.optimizer.lr=1e-3 reward.rows.row_tokens=512 ppo.iterations=1 ppo.rollouts.max_tokens=32 ppo.rows.row_tokens=512 \
ppo.selection.eval_prompts=16 eval.prompts=30 eval.max_tokens=32"
fi
