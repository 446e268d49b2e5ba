"""Configurations of TRL and LLaMA-Factory become settings of ours, and every line is accounted for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from steersman.cli.framework import build
from steersman.config import Config, of_stage
from steersman.config_file import load
from steersman.elsewhere.adopt import adopt, applied

FACTORY_SFT = """\
### model
model_name_or_path: org/base-1b
stage: sft
finetuning_type: lora
lora_rank: 8
lora_target: all
template: qwen
cutoff_len: 2048
packing: false
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
learning_rate: 1e-4
num_train_epochs: 2.5
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
val_size: 0.1
neat_trick: 3
"""
TRL_PPO = """\
#!/bin/bash
export CUDA_VISIBLE_DEVICES=0,1
OUT=models/ppo
accelerate launch --config_file zero2.yaml \\
    examples/scripts/ppo/ppo.py \\
    --output_dir $OUT/run \\
    --learning_rate 3e-6 \\
    --per_device_train_batch_size 16 \\
    --gradient_accumulation_steps 4 \\
    --total_episodes 10000 \\
    --num_mini_batches 2 \\
    --missing_eos_penalty 1.0 \\
    --kl_coef=0.1 --whiten_rewards \\
    --response_length 64 2>&1 | tee log.txt
"""


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_of_llama_factory(tmp_path: Path) -> None:
    found = adopt(written(tmp_path, "a.yaml", FACTORY_SFT))
    assert (found.program, found.stage) == ("LLaMA-Factory", "sft")
    config = applied(Config(), found)
    assert config.model.base == "org/base-1b"
    sft = config.sft
    assert (sft.adapters.lora_rank, sft.adapters.lora_alpha) == (8, 16.0)  # alpha: twice the rank, as there
    assert sft.rows.batch_tokens == 2 * 8 * 256
    assert (sft.rows.row_tokens, sft.rows.long_dialogues) == (2048, "keep_end")
    assert (sft.optimizer.lr, sft.optimizer.warmup_fraction, sft.optimizer.final_lr_fraction) == (1e-4, 0.1, 0.0)
    assert (sft.epochs, sft.eval_fraction) == (3, 0.1)
    assert found.counts["lines"] == 17 == sum(n for name, n in found.counts.items() if name != "lines")
    told = {t.key: t for t in found.lines}
    assert told["learning_rate"].line == 12
    assert "rounded up" in told["num_train_epochs"].why
    assert told["neat_trick"].why == "nothing of the kind here"
    assert "no counterpart" in str(told["neat_trick"])
    assert "so here" in str(told["packing"])
    assert "16 a step" in told["gradient_accumulation_steps"].why


def test_devices_tokens_and_packing_make_the_batch(tmp_path: Path) -> None:
    path = written(tmp_path, "a.yaml", FACTORY_SFT.replace("packing: false", "packing: true"))
    assert adopt(path, devices=4).settings["sft.rows.batch_tokens"] == 2 * 8 * 4 * 2048  # full rows
    path = written(tmp_path, "a.yaml", FACTORY_SFT)
    assert adopt(path, tokens=100).settings["sft.rows.batch_tokens"] == 2 * 8 * 100


def test_a_script_of_trl(tmp_path: Path) -> None:
    found = adopt(written(tmp_path, "run.sh", TRL_PPO))
    assert (found.program, found.stage) == ("TRL", "ppo")
    ppo = applied(Config(), found).ppo
    assert ppo.rollouts.prompts_per_iteration == 16 * 4 * 2  # two devices by CUDA_VISIBLE_DEVICES
    assert ppo.iterations == 79  # ceil(10000 / 128)
    assert (ppo.minibatches, ppo.epochs, ppo.rollouts.max_tokens) == (2, 4, 64)
    assert (ppo.kl.coef, ppo.kl.target, ppo.score.no_eos_reward) == (0.1, 0.0, -1.0)
    assert (ppo.optimizer.lr, ppo.optimizer.critic_lr) == (3e-6, 3e-6)
    assert ppo.advantage.whiten_rewards is True
    told = {t.key: t for t in found.lines}
    assert told["output_dir"].value == "models/ppo/run"
    assert told["per_device_train_batch_size"].line == 4 + 4


@pytest.mark.parametrize(
    ("name", "text", "stage", "expected"),
    [
        (
            "kto.json",
            '{"model_name_or_path": "m", "beta": 0.2, "desirable_weight": 1.3, "learning_rate": 5e-7, "max_steps": 200,'
            '\n "warmup_steps": 20, "use_peft": true, "lora_r": 4, "use_rslora": true}',
            "kto",
            {"kto.beta": 0.2, "kto.desirable_weight": 1.3, "kto.optimizer.warmup_fraction": 0.1}
            | {"kto.adapters.lora_rank": 4, "kto.adapters.lora_alpha": 64.0},
        ),
        (
            "dpo_config.yaml",
            "model_name_or_path: m\nlr_scheduler_type: constant\nloss_type: ipo\nmax_length: 512\ndtype: float16\n",
            "dpo",
            {"dpo.optimizer.final_lr_fraction": 1.0, "dpo.rows.row_tokens": 512, "dpo.optimizer.lr": 1e-6}
            | {"dpo.rows.batch_prompts": 8, "dpo.epochs": 3, "model.dtype": "bfloat16"},
        ),
        (
            "board.yaml",
            "top.model_path: m\ntrain.training_stage: Reward Modeling\ntrain.batch_size: 4\n"
            "train.gradient_accumulation_steps: 2\ntrain.learning_rate: 2e-5\ntop.finetuning_type: full\n",
            "reward",
            {"reward.rows.batch_prompts": 8, "reward.optimizer.lr": 2e-5, "reward.adapters.lora_rank": 0},
        ),
        (
            "ppo.yaml",
            "stage: ppo\nreward_model: r\nppo_buffer_size: 4\nppo_target: 4.0\nppo_score_norm: true\n"
            "per_device_train_batch_size: 2\nmax_new_tokens: 200\nwarmup_ratio: 0.1\nmax_steps: 50\n",
            "ppo",
            {"ppo.rollouts.prompts_per_iteration": 8, "ppo.minibatches": 4, "ppo.kl.target": 4.0}
            | {"ppo.score.normalise": True, "ppo.iterations": 50, "ppo.optimizer.warmup_iterations": 5},
        ),
    ],
)
def test_other_forms_and_stages(tmp_path: Path, name: str, text: str, stage: str, expected: dict[str, object]) -> None:
    found = adopt(written(tmp_path, name, text))
    assert found.stage == stage
    assert expected.items() <= found.settings.items()
    applied(Config(), found)


def test_variables_of_a_script(tmp_path: Path) -> None:
    text = 'lr="$2"\nbeta=0.3\nllamafactory-cli train --stage dpo --learning_rate ${lr:-6.0e-7} \\\n --pref_beta $beta '
    found = adopt(written(tmp_path, "a.sh", text + "--model_name_or_path ${model} --pref_loss simpo"))
    assert (found.settings["dpo.optimizer.lr"], found.settings["dpo.beta"]) == (6e-7, 0.3)
    assert "model.base" not in found.settings
    told = {t.key: t.why for t in found.lines}
    assert told["model_name_or_path"] == "a variable that the file does not set"
    assert told["pref_loss"] == "no such loss here; sigmoid is computed"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.yaml",
            "model_name_or_path: m\nlearning_rate: 1e-4\n",
            "which stage it is of is not said",
        ),
        ("a.yaml", "stage: pt\nlearning_rate: 1e-4\n", "continued pretraining"),
        ("orpo_config.yaml", "model_name_or_path: m\nmax_prompt_length: 5\n", "orpo is no stage here"),
        ("a.yaml", "- 1\n- 2\n", "expected settings as 'name: value'"),
        ("a.yaml", "a: [1\n", "a.yaml:2: expected YAML"),
        ("a.yaml", "name: shop\nport: 80\n", "expected settings of a training run"),
        ("a.sh", "python sft.py --a 1\npython dpo.py --b 2\n", r"found 2 \(lines 1, 2\)"),
        ("sft.yaml", "model_name_or_path: m\nnum_train_epochs: 2\nlearning_rate: -1\n", "sft.optimizer.lr"),
        # trainers whose words mean other things
        ("rm.sh", "read -d '' c <<EOF\nopenrlhf.cli.train_rm --max_epochs 1\nEOF\ndeepspeed --module $c\n", "OpenRLHF"),
        (
            "ppo.sh",
            "deepspeed train_ppo.py --pretrain a/b --micro_train_batch_size 1 --init_kl_coef 0.01\n",
            "OpenRLHF",
        ),
        ("ppo.sh", "deepspeed main.py --actor_model_name_or_path a --actor_zero_stage 3 --bf16\n", "DeepSpeed-Chat"),
        ("grpo.yaml", "stage: grpo\nfinetuning_type: lora\nlearning_rate: 1e-6\n", "LLaMA-Factory has no grpo"),
        ("ppo.sh", "python3 -m verl.trainer.main_ppo algorithm.kl_ctrl.kl_coef=0.001 --x 1\n", "one of verl"),
        ("sft_qlora.yml", "base_model: a/b\nmicro_batch_size: 1\nlearning_rate: 2e-4\n", "one of Axolotl"),
        ("sft.yaml", "model:\n  _component_: torchtune.models.llama3\nepochs: 1\n", "one of torchtune"),
        ("sft.sh", "swift sft --model a/b --learning_rate 1e-4\n", "one of ms-swift"),
    ],
)
def test_what_is_no_such_file_says_so(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        applied(Config(), adopt(written(tmp_path, name, text)))


def test_groups_of_answers_have_sections_of_their_own_beside_ppos(tmp_path: Path) -> None:
    """A file not called so was read as one of DPO (max_prompt_length), one called so was refused."""
    text = (
        "model_name_or_path: m\nlearning_rate: 2.0e-6\nper_device_train_batch_size: 4\ngradient_accumulation_steps: 8\n"
        "num_generations: 8\nnum_iterations: 2\nbeta: 0.04\nepsilon: 0.1\nepsilon_high: 0.28\nmax_prompt_length: 512\n"
        "max_completion_length: 200\nmax_steps: 50\nloss_type: dr_grpo\nreward_funcs: [accuracy]\n"
    )
    found = adopt(written(tmp_path, "config.yaml", text))
    assert (found.program, found.stage) == ("TRL", "grpo")
    made = dict(found.settings)
    assert {name: made[name] for name in made if name.startswith("grpo")} == {
        "grpo.rollouts.prompts_per_iteration": 4,  # 32 answers a step, 8 of a prompt
        "grpo.rollouts.answers_per_prompt": 8,
        "grpo.kl.coef": 0.04,
        "grpo.kl.paid_in": "loss",
    }
    expected = {"lr": 2e-6, "clip_range": 0.1, "epochs": 2, "max_tokens": 200, "iterations": 25, "target": 0.0}
    assert {k: made[n] for k in expected for n in made if n.startswith("ppo.") and n.endswith(f".{k}")} == expected
    assert "ppo.optimizer.critic_lr" not in made
    lost = {told.key for told in found.lines if told.line and not told.settings and not told.same}
    assert lost == {"epsilon_high", "max_prompt_length", "loss_type", "reward_funcs"}
    config = applied(Config(), found)
    assert of_stage(config, "grpo").rollouts.answers_per_prompt == 8
    rloo = adopt(
        written(tmp_path, "run.yaml", "model_name_or_path: m\nrloo_k: 4\nkl_coef: 0.03\nlearning_rate: 1e-6\n")
    )
    assert rloo.stage == "rloo"
    assert rloo.settings["rloo.rollouts.answers_per_prompt"] == 4
    assert (rloo.settings["rloo.kl.coef"], rloo.settings["rloo.kl.paid_in"]) == (0.03, "reward")


def test_a_group_stage_is_counted_in_what_trl_counts(tmp_path: Path) -> None:
    """Of TRL 1.16: answers of 512 tokens; steps are the optimizer's, episodes answers; a batch of answers is several
    steps where it is larger than a step's."""
    text = "model_name_or_path: m\nnum_generations: 4\nlearning_rate: 1e-6\nwarmup_steps: 0.1\n"
    sizes = "generation_batch_size: 32\nmax_steps: 80\n"
    made = dict(adopt(written(tmp_path, "grpo.yaml", text + sizes)).settings)
    assert (made["grpo.rollouts.prompts_per_iteration"], made["ppo.minibatches"], made["ppo.iterations"]) == (8, 4, 20)
    assert (made["ppo.optimizer.warmup_iterations"], made["ppo.rollouts.max_tokens"]) == (2, 512)
    made = dict(adopt(written(tmp_path, "rloo.yaml", f"{text}total_episodes: 800\n")).settings)
    assert (made["rloo.rollouts.prompts_per_iteration"], made["ppo.minibatches"], made["ppo.iterations"]) == (2, 1, 100)


def test_what_becomes_of_long_records_is_said(tmp_path: Path) -> None:
    """TRL's reward model leaves them out; its SFT and DPO cut the end off, unless `truncation_mode` says otherwise."""
    common = "model_name_or_path: m\nlearning_rate: 1e-6\n"
    assert adopt(written(tmp_path, "reward.yaml", common)).settings["reward.rows.long"] == "skip"
    for mode, why in (("keep_end", "so here"), ("keep_start", "keeps its end; there the end of all is cut off")):
        found = adopt(written(tmp_path, "sft.yaml", f"{common}truncation_mode: {mode}\nloss_type: nll\n"))
        told = {line.key: line for line in found.lines}
        assert told["truncation_mode"].why.endswith(why)
        assert told["loss_type"].same
    found = adopt(written(tmp_path, "sft.yaml", f"{common}max_length: null\n"))
    assert "sft.rows.row_tokens" not in found.settings
    assert next(line for line in found.lines if line.key == "max_length").why.startswith("no limit there")


def test_init_takes_several_files_and_says_what_became_of_each_line(tmp_path: Path) -> None:
    one, two = written(tmp_path, "a.yaml", FACTORY_SFT), written(tmp_path, "run.sh", TRL_PPO)
    done = CliRunner().invoke(build(), ["init", str(tmp_path / "w"), "--from", str(one), "--from", str(two), "--json"])
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)["from"]
    assert [f["stage"] for f in told] == ["sft", "ppo"]
    config = load(tmp_path / "w" / "steersman.toml")
    assert (config.sft.adapters.lora_rank, config.ppo.iterations) == (8, 79)
    bad = CliRunner().invoke(build(), ["init", str(tmp_path / "v"), "--from", str(tmp_path / "none.yaml")])
    assert bad.exit_code == 2
    assert not (tmp_path / "v").exists()


def test_a_loss_of_pairs_names_the_stage_and_mixtures_are_data(tmp_path: Path) -> None:
    """As the alignment handbook writes its files."""
    text = "learning_rate: 1e-6\nloss_type: apo_zero\ndataset_mixer:\n  org/name: 1.0\nchat_template: |\n  a\n  b\n"
    found = adopt(written(tmp_path, "apo.yaml", text))
    lines = {told.key: told for told in found.lines}
    assert found.stage == "dpo"
    assert "data are imported" in lines["dataset_mixer.org/name"].why
    assert lines["chat_template"].value == "a b"


def test_a_comment_or_a_path_makes_no_other_trainer_of_a_file(tmp_path: Path) -> None:
    text = "# once openrlhf.cli.train_sft\nlearning_rate: 1e-5\npacking: true\ndataset_name: /data/openrlhf/x\n"
    assert adopt(written(tmp_path, "sft.yaml", text + "\n" * 200_000)).stage == "sft"


def test_what_stages_share_is_the_first_ones(tmp_path: Path) -> None:
    """As the recipes of a known handbook: DPO's model is what SFT made, which is made here."""
    dpo = "model_name_or_path: org/base-1b-sft\nbeta: 0.05\nloss_type: sigmoid\nlearning_rate: 5.0e-7\nseed: 42\n"
    two = written(tmp_path, "dpo.yaml", dpo)
    one = written(tmp_path, "sft.yaml", FACTORY_SFT)
    done = CliRunner().invoke(build(), ["init", str(tmp_path / "w"), "--from", str(two), "--from", str(one), "--json"])
    assert done.exit_code == 0, done.output
    config = load(tmp_path / "w/steersman.toml")
    assert (config.model.base, config.project.seed, config.dpo.optimizer.lr) == ("org/base-1b", 42, 5e-7)
    told = {line["key"]: line for line in json.loads(done.stdout)["from"][0]["lines"]}
    assert told["model_name_or_path"]["settings"] == {}
    assert told["model_name_or_path"]["why"] == "model.base is one for all stages and sft.yaml's"
    again = written(tmp_path, "again.yaml", FACTORY_SFT)
    bad = CliRunner().invoke(build(), ["init", str(tmp_path / "v"), "--from", str(one), "--from", str(again)])
    assert (bad.exit_code, "are both of sft; expected one file a stage" in bad.stderr) == (2, True)
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", f"{FACTORY_SFT}learning_rate: 1e-5\n"),
        ("b.json", '{"stage": "sft", "learning_rate": 1e-4, "learning_rate": 1e-5}'),
    ],
)
def test_a_setting_that_is_there_twice_is_not_guessed(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(ValueError, match="learning_rate' is there twice; expected it once"):
        adopt(written(tmp_path, name, text))


def test_of_an_option_that_is_there_twice_the_last_counts_as_on_a_command_line(tmp_path: Path) -> None:
    text = "llamafactory-cli train --stage sft \\\n  --learning_rate 1e-4 --seed 3 \\\n  --learning_rate 1e-5\n"
    found = adopt(written(tmp_path, "c.sh", text))
    assert found.settings["sft.optimizer.lr"] == 1e-5
    told = [(line.value, line.why) for line in found.lines if line.key == "learning_rate"]
    assert told == [("1e-4", "given again later: the last one counts, there as here"), ("1e-5", "")]
    assert found.counts["lines"] == 4


def test_a_method_that_is_not_here_is_a_caution(tmp_path: Path) -> None:
    text = FACTORY_SFT.replace("finetuning_type: lora", "finetuning_type: oft")
    done = CliRunner().invoke(build(), ["init", str(tmp_path / "w"), "--from", str(written(tmp_path, "a.yaml", text))])
    assert "caution: line 4: finetuning_type: oft: no such method here; all weights learn" in done.stdout


V1 = """model: Qwen/Qwen3-0.6B
train_dataset: data/v1_sft_demo.yaml
global_batch_size: 16
micro_batch_size: 1
cutoff_len: 2048
max_steps: 10
"""


def test_the_newer_form_of_llama_factory_has_its_own_defaults(tmp_path: Path) -> None:
    """All weights learn where no peft_config is, at a constant rate of 1e-4, and the batch is of all devices."""
    path = tmp_path / "full.yaml"
    path.write_text(V1, encoding="utf-8")
    found = adopt(path, devices=2)
    assert (found.program, found.settings["sft.adapters.lora_rank"]) == ("LLaMA-Factory v1", 0)
    assert (found.settings["sft.optimizer.lr"], found.settings["sft.optimizer.final_lr_fraction"]) == (1e-4, 1.0)
    assert found.settings["sft.rows.batch_tokens"] == 16 * 256
    assert "there max_steps says how long" in "".join(map(str, found.lines))
    uneven = "".join(map(str, adopt(path, devices=3).lines))  # said 5 x 1 x 3 = 16
    assert "16 a step, as global_batch_size says, which is no multiple of 1 a device x 3 devices" in uneven
    path.write_text(V1 + "peft_config:\n  name: freeze\n  freeze_trainable_layers: 3\n", encoding="utf-8")
    assert adopt(path).settings["sft.adapters.train_layers"] == 3
    path.write_text(V1 + "peft_config:\n  name: lora\n  r: 16\n", encoding="utf-8")
    settings = adopt(path).settings
    assert (settings["sft.adapters.lora_rank"], settings["sft.adapters.lora_alpha"]) == (16, 16.0)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("chat.yaml", "model_name_or_path: a\ntemplate: qwen3\ninfer_backend: vllm\n", "those of using a model"),
        ("merge.yaml", "model_name_or_path: a\ntemplate: qwen3\nexport_dir: b\n", "those of using a model"),
        (
            "go.sh",
            "python examples/scripts/dpo_online.py --model_name_or_path a --beta 0.1\n",
            "online DPO is no stage",
        ),
        ("train.py", "args = DPOConfig(output_dir='x', beta=0.1)\n", "a program is not read; expected the settings"),
    ],
)
def test_what_trains_nothing_or_is_a_program_is_no_file_of_settings(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        adopt(tmp_path / name)


def test_a_schedule_s_end_is_read_from_a_command_too(tmp_path: Path) -> None:
    path = tmp_path / "go.sh"
    end = """--lr_scheduler_type cosine_with_min_lr --lr_scheduler_kwargs '{"min_lr_rate": 0.1}'"""
    path.write_text(f"trl sft --model_name_or_path a {end}\n", encoding="utf-8")
    assert adopt(path).settings["sft.optimizer.final_lr_fraction"] == 0.1
