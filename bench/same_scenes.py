"""For bench/same.py: what is run by both commits. Settings are in the form in which the older one reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SIZES = """
model.dtype=float32 model.device=cpu project.trackers= data.demonstrations=24 data.ranking_prompts=24
data.ppo_prompts=12 data.eval_prompts=12 rank.error_rate=0.4 sft.epochs=1 sft.lr=1e-3 sft.batch_tokens=2048
sample.answers=3 sample.max_tokens=8 sample.batch_prompts=8 reward.lr=1e-3 reward.holdout_fraction=0.25
ppo.iterations=3 ppo.prompts_per_iteration=4 ppo.answers_per_prompt=2 ppo.max_tokens=6 ppo.minibatches=2 ppo.lr=1e-3
ppo.critic_lr=1e-3 ppo.kl_ceiling=1e9 ppo.eval_every=1 ppo.eval_prompts=4 grpo.prompts_per_iteration=4
rloo.prompts_per_iteration=4 dpo.lr=1e-3 kto.lr=1e-3 eval.max_tokens=8 eval.bootstrap=200 serve.max_tokens=8
serve.temperature=0
"""
LORA = "sft.lora_rank=4 reward.lora_rank=4 ppo.lora_rank=4 dpo.lora_rank=4"
OPTIONS = """
sft.evals=1 sft.checkpointing=true sft.weight_decay=0.1 reward.objectives={brief=1.0,kind=0.5} reward.members=2
reward.margin=0.1 reward.evals=1 reward.train_layers=1 ppo.overlap=true ppo.rollout_prompts=2 ppo.epochs=2
ppo.lr_schedule=cosine ppo.ema_decay=0.9 ppo.critic_init=sft ppo.critic_warmup_iterations=1 ppo.whiten_rewards=true
ppo.entropy_coef=0.01 ppo.kl_target=1 ppo.ptx_coef=0.5 ppo.ensemble=uncertainty ppo.gamma=0.99 ppo.train_layers=1
ppo.rules=[{rule="length",at_most=20},{rule="repetition",weight=0.5},{rule="language"}]
dpo.label_smoothing=0.1 dpo.length_normalised=true kto.undesirable_weight=2 eval.best_of=2
"""
LEARNED = ["sft", "sample", "rank --simulated", "data export rankings", "reward", "ppo"]


@dataclass(frozen=True)
class Scene:
    """A workspace: its base's family, settings besides SIZES, commands in their order.

    Nobody ranks by hand: people see answers in random order. TALK and OBJECTIVES are steps of same_trees.py; BASE is
    the folder of the base.
    """

    family: str
    settings: str
    commands: tuple[str, ...]


SCENES = {
    "plain": Scene(
        "llama",
        "",
        (
            *LEARNED,
            *("grpo", "rloo", "dpo", "kto", "eval", "promote --anyway", "TALK"),
            *("data export comparisons", "data export feedback"),
            *("next", "data export demonstrations", "data import exports/demonstrations.jsonl --name edited"),
            *("run --simulated", "kto", "promote --force", "rollback"),
            "sft --model BASE --data data/shop-demonstrations-train.jsonl --output out/sft",
        ),
    ),
    "lora": Scene("gemma3_text", LORA, (*LEARNED, "dpo", "eval")),
    "options": Scene("llama", OPTIONS, ("OBJECTIVES", "sft", "sample", "reward", "ppo", "dpo", "kto", "eval")),
    "bfloat16": Scene("qwen3", "model.dtype=bfloat16", (*LEARNED, "grpo", "dpo", "eval")),
}


def make_models(folder: Path) -> None:
    """A tiny random model of each family, with a byte-level tokenizer and ChatML."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    transformers.utils.logging.disable_progress_bar()
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=letters, show_progress=False)
    core.train_from_iterator(
        ["Where is my order? Your parcel arrives on 6 May.", "您好，我的订单什么时候到？"], trainer
    )
    pad, bos, eos = special
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=core, eos_token=eos, bos_token=bos, pad_token=pad)
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    for family in {scene.family for scene in SCENES.values()}:
        torch.manual_seed(0)
        shape = {"vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
        shape |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024, "head_dim": 16}
        shape |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "tie_word_embeddings": True}
        # a range larger than usual: logits far from flat, so that a wrong step changes the text
        config = transformers.AutoConfig.for_model(family, **shape, initializer_range=0.2)
        transformers.AutoModelForCausalLM.from_config(config).float().save_pretrained(folder / family)
        tokenizer.save_pretrained(folder / family)
