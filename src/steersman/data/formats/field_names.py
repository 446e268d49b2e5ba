"""Names of fields in public data sets: by role, or metadata."""

from __future__ import annotations

import re

_CONTEXT = "input context passage document article paragraph 文章 材料 上下文 背景 输入"
NAMES: dict[str, tuple[str, ...]] = {
    "messages": (
        *("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns", "contents", "data"),
        *("dialogs", "dialogues", "utterances", "transcript", "chat_messages", "plain_text", "trajectory", "items"),
        "对话",
    ),
    "question": (
        *("prompt", "question", "instruction", "query", "inputs_pretokenized", "context_messages", "user_prompt"),
        *("user_query", "user_input", "user_message"),
        *("user_question", "customer_message", "customer_question", "human", "user", "customer", "inputs"),
        *("input_text", "text_input", "prompt_text", "question_text", "instructions", "problem", "request", "ask"),
        *("q", "问题", "指令", "提问", "用户", "客户", "题目", "问", "提示", "提示词", "客户问题", "用户问题"),
        *("customer_query", "kundenfrage", "frage", "pregunta", "客户提问", "用户提问", "顾客问题", "客户咨询"),
        *("user_utterance", "customer_utterance"),
    ),
    "context": tuple(_CONTEXT.split()),
    "history": ("history", "chat_history", "conversation_history", "dialogue_history", "past_messages", "历史"),
    "system": (
        *("system", "system_prompt", "systemprompt", "system_message", "system_instruction", "systeminstruction"),
        *("system_text", "meta_instruction", "persona_prompt", "系统", "系统提示", "系统提示词"),
    ),
    "answer": (
        *("response", "completion", "output", "answer", "reply", "target", "targets_pretokenized", "targets"),
        *("solution", "assistant", "bot", "chatbot"),
        *("gpt", "outputs", "answers", "responses", "completions", "output_text", "text_output", "answer_text"),
        *("response_text", "completion_text", "target_text", "label_text", "assistant_response", "assistant_message"),
        *("assistant_reply", "assistant_answer", "bot_response", "bot_reply", "agent_reply", "agent_response"),
        *("agent_answer", "support_reply", "model_response", "model_output", "model_answer", "model_completion"),
        *("ai_response", "gpt_response", "gpt4_response", "chatgpt_response", "chatgpt_answer", "llm_response"),
        *("generated_text", "generated_answer", "generated_response", "generation", "final_answer", "final_response"),
        *("best_answer", "correct_answer", "expected_answer", "expected_output", "expected_response", "gold_answer"),
        *("reference_answer", "golden_answer", "ground_truth", "ideal", "golden", "human_answer", "replies", "a"),
        *("chosen", "回答", "答案", "输出", "回复", "答复", "解答", "答", "助手", "客服", "客服回复", "标准答案"),
        *("first_reply", "first_response", "agent_message", "staff_reply", "support_response", "support_answer"),
        *("resolution", "ticket_resolution"),
        *("system_utterance", "agent_utterance", "antwort", "respuesta", "客服回答", "客服答复", "回复内容"),
        *("处理结果", "解决方案"),
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
"""Role -> its names, the likelier first, in the form of `plain`."""

SUBJECTS = ("subject", "ticket_subject", "title", "betreff", "主题", "标题", "工单标题")
_BODIES = """
    description ticket_description body ticket_body selftext message content details issue complaint
    issue_description inquiry enquiry comment beschreibung nachricht anliegen anfrage
    描述 问题描述 工单描述 内容 客户消息 用户消息 咨询内容
"""
BODIES = tuple(_BODIES.split())
"""Fields of a ticket that contain the question, for records with an answer and no usual name of a question."""

IMAGES = ("images", "image", "image_path", "images_path", "image_url", "picture")
"""Fields of images that belong to a record."""
MEDIA = (*IMAGES, "video", "videos", "audio", "audios")
"""Fields of content that is not text."""

MAPPABLE = (
    *("question", "answer", "context", "system", "history", "messages", "thinking", "chosen", "rejected", "answers"),
    *("scores", "ranks", "label", "preference", "tools", "text", "id", "ignore"),
    *("conversation", "sender", "message", "time"),
)
"""Roles that --map accepts before '='."""

_META = """
    _id act agent_id agent_name annotation annotations annotator annotator_id annotators anony answer_choices
    answer_from answer_id attributes author authors avatarurl better_response_id brand c_root_id_a c_root_id_b
    categories category channel chat_id chosen_avg_rating chosen_model chosen_rating chosen_score coherence comment
    comments complexity confidence config conversation_hash conversation_id copyright correct_answers correctness
    country created created_at created_at_utc_a created_at_utc_b created_date custom_instruction data_source
    data_type dataset dataset_name date datetime detoxify difficulty domain emojis emotion engine entities entity
    extra extra_info file filename focus fold from_source generator_model genre grade guid hardness hash hash_id
    hashed_ip header headers helpfulness hideuserturns href human_verified id idx incorrect_answers index
    individual_preference info instruction_id_list instruction_type intent intents ip is_classification
    is_response_0_safe is_response_1_safe is_toxic judge key kind kwargs label labeler labels lang language
    language_code languages length level license link locale margin mean_score message_id meta metadata model
    model_a model_b model_id model_name models moderation n_turns name note notes num_tokens num_turns
    number_of_turns objective openai_moderation order_id origin overall_preference parallel_tool_calls parameters
    params parent_id part path post_id pref preference_elaboration preference_statement preference_strength priority
    product prompt_id prompt_source prompt_template quality question_id rank rater rating ratings redacted
    rejected_avg_rating rejected_model rejected_rating rejected_score remark response_0_harm_category
    response_0_severity_level response_0_sha256 response_0_source response_1_harm_category response_1_severity_level
    response_1_sha256 response_1_source response_id reward rewards round rule safer_response_id schemaversion score
    score_chosen score_ratio score_rejected scores seconds_difference sections sentiment session_id sha sha256
    skip_prompt_formatting slots source sources split src state status std_score subject subjects subset subtype tag
    tags task task_name task_type tasks template template_name theme thread_id ticket_id time timestamp title
    token_count tokens topic topics toxic toxicity tstamp turn turns_count type types uid update_time updated
    upvote_ratio uri url user_id user_name username uuid verbosity verified version weight winner_score worker
    worker_id 主题 备注 序号 日期 时间 来源 标签 类别 类型 编号 语言 链接 领域
"""
META = frozenset(_META.split())
"""Fields that describe a record and are not its content."""

META_NAME = re.compile(
    r".*_(id|ids|idx|hash|url|uri|source|model|models|score|scores|rating|ratings|type|lang|language|date|time|timestamp|"
    r"count|num|len|length|name|version|category|level|tokens|logps?|tag|tags|sha256|at)|(is|num|n|has|avg|mean)_.*|__.*"
)
"""Pattern of names of metadata."""

COMMENT_NAME = re.compile(
    r"critiques?|rationale|task_description|story|相似问.*|扩展问.*|(similar|alternative)_questions?|chosen_topic.*|labelling_.*|raw_.*|generation_prompt|.*generations|knowledge|intent|full_conversation|rots|"
    r"reformulations|quotes_\w|orig(inal)?_.*|preference_.*|.*_(elaboration|statement|explanation|annotations?|preferences|"
    r"unprocessed|reasons?)"
)
"""Fields with comments of judges and data generators on the record's answer, not used for training."""
