"""What the fields of public records are called, and a record that knows which of its fields were read.

A role (question, answer, system, ...) has many names in the wild; `Fields.take` finds the one that a record uses.
What no importer took is either covered by what was read, or metadata, or content that would be lost (`left`).
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

NAMES: dict[str, tuple[str, ...]] = {
    "messages": (
        *("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns", "contents", "data"),
        *("dialogs", "dialogues", "utterances", "对话"),
    ),
    "question": (
        *("prompt", "question", "instruction", "query", "user_prompt", "user_query", "user_input", "user_message"),
        *("user_question", "customer_message", "customer_question", "human", "user", "customer", "inputs"),
        *("input_text", "text_input", "prompt_text", "question_text", "instructions", "problem", "request", "ask"),
        *("q", "问题", "指令", "提问", "用户", "客户", "题目", "问", "提示", "提示词", "客户问题", "用户问题"),
    ),
    "context": ("input", "context", "passage", "document", "article", "paragraph", "文章", "材料", "上下文", "背景", "输入"),
    "history": ("history", "chat_history", "conversation_history", "dialogue_history", "past_messages", "历史"),
    "system": (
        *("system", "system_prompt", "systemprompt", "system_message", "system_instruction", "systeminstruction"),
        *("system_text", "meta_instruction", "persona_prompt", "系统", "系统提示", "系统提示词"),
    ),
    "answer": (
        *("response", "completion", "output", "answer", "reply", "target", "solution", "assistant", "bot", "chatbot"),
        *("gpt", "outputs", "answers", "responses", "completions", "output_text", "text_output", "answer_text"),
        *("response_text", "completion_text", "target_text", "label_text", "assistant_response", "assistant_message"),
        *("assistant_reply", "assistant_answer", "bot_response", "bot_reply", "agent_reply", "agent_response"),
        *("agent_answer", "support_reply", "model_response", "model_output", "model_answer", "model_completion"),
        *("ai_response", "gpt_response", "gpt4_response", "chatgpt_response", "chatgpt_answer", "llm_response"),
        *("generated_text", "generated_answer", "generated_response", "generation", "final_answer", "final_response"),
        *("best_answer", "correct_answer", "expected_answer", "expected_output", "expected_response", "gold_answer"),
        *("reference_answer", "golden_answer", "ground_truth", "ideal", "golden", "human_answer", "replies", "a"),
        *("chosen", "回答", "答案", "输出", "回复", "答复", "解答", "答", "助手", "客服", "客服回复", "标准答案"),
    ),
    "answers": (
        *("answers", "responses", "completions", "generations", "candidates", "outputs", "replies", "output"),
        *("samples", "ranked_responses", "response", "completion", "answer", "回答", "答案", "输出"),
    ),
    "thinking": (
        *("reasoning_content", "reasoning", "thinking", "thought", "thoughts", "think", "cot", "chain_of_thought"),
        *("complex_cot", "rationale", "reasoning_trace", "thinking_trace", "思考", "思维链", "推理过程", "思考过程"),
    ),
    "tools": ("tools", "functions", "available_tools", "tool_definitions"),
    "choices": ("choices", "options", "选项"),
    "ranks": ("ranks", "rank", "ranking", "rankings", "排名"),
    "scores": (
        *("scores", "score", "ratings", "rating", "rewards", "reward", "overall_scores", "overall_score", "grades"),
        *("upvotes", "votes", "quality", "qualities", "preference_scores", "annotations", "评分", "得分", "分数"),
    ),
    "label": (
        *("label", "kto_tag", "kto_label", "is_safe", "is_good", "is_desirable", "desirable", "thumbs", "thumb"),
        *("thumbs_up", "liked", "like", "feedback", "vote", "upvoted", "accepted", "is_accepted", "is_helpful"),
        *("is_response_safe", "preferred", "labels", "user_feedback", "标签", "反馈", "评价"),
    ),
    "preference": (
        *("better_response_id", "overall_preference", "preference_strength", "preference", "winner", "preferred"),
        *("better", "choice", "chosen", "label", "labels", "safer_response_id", "better_response", "best", "vote"),
    ),
    "text": ("text", "文本"),
    "id": ("id", "question_id", "prompt_id", "conversation_id", "uuid", "uid", "编号"),
}
"""Role -> names by which it goes, the likelier first. All in the form that `plain` gives them."""

MAPPABLE = (
    *("question", "answer", "context", "system", "history", "messages", "thinking", "chosen", "rejected", "answers"),
    *("scores", "ranks", "label", "preference", "tools", "text", "id", "ignore"),
)
"""What may stand before the '=' of --map."""

META = frozenset(
    """
    id _id uid uuid guid idx index key hash sha source sources src origin dataset dataset_name data_source from_source
    category categories type types subtype kind topic topics subject subjects domain task tasks task_type task_name
    genre theme tag tags lang language languages locale split subset fold part version license copyright url uri link
    href file filename path title author authors name username user_id user_name annotator annotators annotator_id
    annotations annotation worker worker_id labeler rater model models model_name model_id engine generator_model
    chosen_model rejected_model model_a model_b judge date time timestamp created created_at created_date updated
    update_time datetime turn turns_count num_turns n_turns round length num_tokens token_count tokens difficulty level
    grade hardness complexity verbosity coherence correctness helpfulness score scores rating ratings rank quality
    confidence margin reward rewards score_chosen score_rejected chosen_score rejected_score chosen_rating
    rejected_rating chosen_avg_rating rejected_avg_rating pref winner_score is_classification is_toxic toxic toxicity
    redacted openai_moderation moderation detoxify emojis labels label meta metadata extra extra_info info attributes
    parameters params config kwargs instruction_id_list template template_name prompt_template answer_choices country
    state hashed_ip header headers ip intent intents entity entities slots emotion sentiment status verified
    human_verified answer_from act note notes comment comments remark objective correct_answers incorrect_answers
    custom_instruction hash_id message_id parent_id conversation_id conversation_hash prompt_id question_id response_id
    answer_id chat_id session_id thread_id post_id c_root_id_a c_root_id_b created_at_utc_a created_at_utc_b upvote_ratio
    seconds_difference score_ratio preference_strength overall_preference preference_statement preference_elaboration
    better_response_id safer_response_id is_response_0_safe is_response_1_safe response_0_severity_level
    response_1_severity_level response_0_harm_category response_1_harm_category prompt_source response_0_source
    response_1_source sha256 response_0_sha256 response_1_sha256 individual_preference parallel_tool_calls schemaversion
    sections mean_score std_score weight data_type instruction_type rule tstamp anony language_code skip_prompt_formatting
    avatarurl hideuserturns focus number_of_turns product brand order_id ticket_id agent_id agent_name priority channel
    来源 类型 类别 语言 编号 序号 日期 时间 链接 标签 主题 领域 备注
    """.split()
)
"""Fields that describe a record rather than being said in it."""

ID_LIKE = re.compile(r"[\w.:/@#&+=%-]*")
"""A value of one word: a name or a category, hardly an answer."""


@functools.cache
def plain(name: str) -> str:
    """A field's name as it is compared: lower case, words joined by '_', no byte order mark."""
    return re.sub(r"[\s\-./]+", "_", name.strip("\ufeff \t")).casefold()


def shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def parsed_json(value: Any) -> Any:
    """Lists and objects that were written as a string of JSON (tables, exports) as what they are; else the value."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def turns_in(value: Any) -> Any:
    """A string of JSON that lists turns as the list; any other value, also JSON that somebody said, as it is."""
    found = parsed_json(value)
    good = isinstance(found, list) and bool(found) and all(isinstance(t, Mapping) and {"role", "from"} & t.keys() for t in found)
    return found if good else value


def trimmed(text: str) -> str:
    """A text without blank lines around, white space at its end and one space at its start; indentation stays."""
    text = re.sub(r"\A(?:[^\S\n]*\n)+", "", text.rstrip())
    return text[1:] if re.match(r" (?=\S)", text) else text


def empty(value: Any) -> bool:
    return value is None or value == "" or value == [] or value == {}


class Fields:
    """A record, by roles: which field plays which (`mapping`: role -> field, said by the user), and what is left."""

    def __init__(
        self,
        record: Mapping[str, Any],
        *,
        mapping: Mapping[str, str] | None = None,
        speakers: Mapping[str, str] | None = None,
        ordered: str = "",
        notes: Counter[str] | None = None,
    ) -> None:
        self.record = record
        self.keys = {plain(str(key)): key for key in reversed(record)}
        self.mapping = {role: tuple(map(plain, value.split(","))) for role, value in (mapping or {}).items()}
        self.speakers = speakers or {}
        self.ordered = ordered
        self.notes: Counter[str] = Counter() if notes is None else notes
        """What was changed or guessed -> how often."""
        self.taken: dict[str, str] = {}
        """Role -> the field that plays it."""
        self.used: set[str] = {self.keys[name] for name in self.mapping.get("ignore", ()) if name in self.keys}

    def names(self, role: str) -> tuple[str, ...]:
        """Names of a role; a role that the user mapped has those alone, and they play no other."""
        if role in self.mapping or not self.mapping:
            return self.mapping.get(role) or NAMES.get(role, (role,))
        spoken_for = {name for names in self.mapping.values() for name in names}
        return tuple(n for n in NAMES.get(role, (role,)) if n not in spoken_for)

    def find(self, role: str) -> str | None:
        """The field that plays a role (its own name in this record), or None. Fields that are null count as absent."""
        keys = (self.keys[name] for name in self.names(role) if name in self.keys)
        return next((key for key in keys if self.record[key] is not None and key not in self.used), None)

    def has(self, role: str) -> bool:
        return self.find(role) is not None

    def take(self, role: str, key: str | None = None) -> tuple[str, Any]:
        """(field, value) of a role, now read. ValueError where the record has none."""
        key = key or self.find(role)
        if key is None:
            name = next((self.keys[n] for n in self.names(role) if n in self.keys), self.names(role)[0])
            fields = ", ".join(map(str, self.record)) or "none"
            got = "None" if name in self.record else f"no such field (fields: {fields})"
            raise ValueError(f"{name}: expected a string, got {got}")
        self.used.add(key)
        self.taken.setdefault(role, key)
        return key, self.record[key]

    def note(self, what: str, times: int = 1) -> None:
        if times:
            self.notes[what] += times

    def left(self) -> Iterable[tuple[str, Any]]:
        """Fields that nothing took and that hold something."""
        return ((k, v) for k, v in self.record.items() if k not in self.used and not empty(v))


def texts_in(value: Any, depth: int = 0) -> list[str]:
    """The strings of a value, those inside lists and objects too."""
    if isinstance(value, str):
        return [value]
    if depth > 8:
        return []
    if isinstance(value, Mapping):
        return [t for item in value.values() for t in texts_in(item, depth + 1)]
    if isinstance(value, list | tuple):
        return [t for item in value for t in texts_in(item, depth + 1)]
    return []


def squeezed(text: str) -> str:
    return "".join(text.split())


def is_said(value: Any, least: int) -> bool:
    """Whether a value reads like something said: at least `least` words, a Chinese character counting for a half."""
    for text in texts_in(parsed_json(value)):
        if ID_LIKE.fullmatch(text) and text.isascii() and not text.endswith((".", "!", "?")):
            continue
        words = len(re.findall(r"[^\W\d_]+", re.sub(r"[\u3400-\u9fff]", "", text)))
        if words + len(re.findall(r"[\u3400-\u9fff]", text)) / 2 >= least:
            return True
    return False


def lost(fields: Fields, words: str, answered: bool) -> tuple[list[str], list[str]]:
    """(fields with content that would be lost, other fields that are not used), after an importer took its own.

    `words`: all that was read. A field whose text stands there already, or that renders all of it, is not lost. A
    record without an answer is looked at more strictly: any unknown text may be the answer.
    """
    content, others = [], []
    read = squeezed(words)
    for key, value in fields.left():
        texts = [squeezed(t) for t in texts_in(parsed_json(value))]
        if texts and all(t in read for t in texts):
            continue
        pieces = [squeezed(piece) for piece in words.split("\n") if piece.strip()]
        if pieces and any(all(piece in t for piece in pieces) for t in texts):
            continue  # the whole record again, rendered
        known = plain(str(key)) in META or bool(META_NAME.fullmatch(plain(str(key))))
        said = not known and is_said(value, 4 if answered else 1)
        (content if said else others).append(str(key))
    return content, others


META_NAME = re.compile(
    r".*_(id|ids|idx|hash|url|uri|source|model|models|score|scores|rating|ratings|type|lang|language|date|time|timestamp|"
    r"count|num|len|length|name|version|category|level|tokens|logps?|tag|tags|sha256|at)|(is|num|n|has|avg|mean)_.*|__.*"
)
"""Names of metadata by their form."""
