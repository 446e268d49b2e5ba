"""What the fields of public data sets are called: by the role that they play, or as metadata."""

from __future__ import annotations

import re

NAMES: dict[str, tuple[str, ...]] = {
    "messages": (
        *("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns", "contents", "data"),
        *("dialogs", "dialogues", "utterances", "transcript", "对话"),
    ),
    "question": (
        *("prompt", "question", "instruction", "query", "user_prompt", "user_query", "user_input", "user_message"),
        *("user_question", "customer_message", "customer_question", "human", "user", "customer", "inputs"),
        *("input_text", "text_input", "prompt_text", "question_text", "instructions", "problem", "request", "ask"),
        *("q", "问题", "指令", "提问", "用户", "客户", "题目", "问", "提示", "提示词", "客户问题", "用户问题"),
        *("customer_query", "kundenfrage", "frage", "pregunta", "客户提问", "用户提问", "顾客问题", "客户咨询"),
    ),
    "context": (
        "input",
        "context",
        "passage",
        "document",
        "article",
        "paragraph",
        "文章",
        "材料",
        "上下文",
        "背景",
        "输入",
    ),
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
        *("agent_message", "staff_reply", "support_response", "support_answer", "resolution", "ticket_resolution"),
        *("antwort", "respuesta", "客服回答", "客服答复", "回复内容", "处理结果", "解决方案"),
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

SUBJECTS = ("subject", "ticket_subject", "title", "betreff", "主题", "标题", "工单标题")
BODIES = (
    *(
        "description",
        "ticket_description",
        "body",
        "ticket_body",
        "message",
        "content",
        "details",
        "issue",
        "complaint",
    ),
    *("issue_description", "inquiry", "enquiry", "comment", "beschreibung", "nachricht", "anliegen", "anfrage"),
    *("描述", "问题描述", "工单描述", "内容", "客户消息", "用户消息", "咨询内容"),
)
"""Fields of a ticket: what is asked, where a record has an answer and none of the names of a question."""

MEDIA = ("image", "images", "video", "videos", "audio", "audios", "image_path", "images_path", "image_url", "picture")
"""Fields of what is no text and cannot be learned yet."""

MAPPABLE = (
    *("question", "answer", "context", "system", "history", "messages", "thinking", "chosen", "rejected", "answers"),
    *("scores", "ranks", "label", "preference", "tools", "text", "id", "ignore"),
)
"""What may stand before the '=' of --map."""

META = frozenset(
    (
        *("id", "_id", "uid", "uuid", "guid", "idx", "index", "key", "hash", "sha", "source", "sources", "src"),
        *("origin", "dataset", "dataset_name", "data_source", "from_source", "category", "categories", "type"),
        *("types", "subtype", "kind", "topic", "topics", "subject", "subjects", "domain", "task", "tasks"),
        *("task_type", "task_name", "genre", "theme", "tag", "tags", "lang", "language", "languages", "locale"),
        *("split", "subset", "fold", "part", "version", "license", "copyright", "url", "uri", "link", "href"),
        *("file", "filename", "path", "title", "author", "authors", "name", "username", "user_id", "user_name"),
        *("annotator", "annotators", "annotator_id", "annotations", "annotation", "worker", "worker_id"),
        *("labeler", "rater", "model", "models", "model_name", "model_id", "engine", "generator_model"),
        *("chosen_model", "rejected_model", "model_a", "model_b", "judge", "date", "time", "timestamp"),
        *("created", "created_at", "created_date", "updated", "update_time", "datetime", "turn", "turns_count"),
        *("num_turns", "n_turns", "round", "length", "num_tokens", "token_count", "tokens", "difficulty"),
        *("level", "grade", "hardness", "complexity", "verbosity", "coherence", "correctness", "helpfulness"),
        *("score", "scores", "rating", "ratings", "rank", "quality", "confidence", "margin", "reward", "rewards"),
        *("score_chosen", "score_rejected", "chosen_score", "rejected_score", "chosen_rating", "rejected_rating"),
        *("chosen_avg_rating", "rejected_avg_rating", "pref", "winner_score", "is_classification", "is_toxic"),
        *("toxic", "toxicity", "redacted", "openai_moderation", "moderation", "detoxify", "emojis", "labels"),
        *("label", "meta", "metadata", "extra", "extra_info", "info", "attributes", "parameters", "params"),
        *("config", "kwargs", "instruction_id_list", "template", "template_name", "prompt_template"),
        *("answer_choices", "country", "state", "hashed_ip", "header", "headers", "ip", "intent", "intents"),
        *("entity", "entities", "slots", "emotion", "sentiment", "status", "verified", "human_verified"),
        *("answer_from", "act", "note", "notes", "comment", "comments", "remark", "objective", "correct_answers"),
        *("incorrect_answers", "custom_instruction", "hash_id", "message_id", "parent_id", "conversation_id"),
        *("conversation_hash", "prompt_id", "question_id", "response_id", "answer_id", "chat_id", "session_id"),
        *("thread_id", "post_id", "c_root_id_a", "c_root_id_b", "created_at_utc_a", "created_at_utc_b"),
        *("upvote_ratio", "seconds_difference", "score_ratio", "preference_strength", "overall_preference"),
        *("preference_statement", "preference_elaboration", "better_response_id", "safer_response_id"),
        *("is_response_0_safe", "is_response_1_safe", "response_0_severity_level", "response_1_severity_level"),
        *("response_0_harm_category", "response_1_harm_category", "prompt_source", "response_0_source"),
        *("response_1_source", "sha256", "response_0_sha256", "response_1_sha256", "individual_preference"),
        *("parallel_tool_calls", "schemaversion", "sections", "mean_score", "std_score", "weight", "data_type"),
        *("instruction_type", "rule", "tstamp", "anony", "language_code", "skip_prompt_formatting", "avatarurl"),
        *("hideuserturns", "focus", "number_of_turns", "product", "brand", "order_id", "ticket_id", "agent_id"),
        *(
            "agent_name",
            "priority",
            "channel",
            "来源",
            "类型",
            "类别",
            "语言",
            "编号",
            "序号",
            "日期",
            "时间",
            "链接",
            "标签",
            "主题",
        ),
        *("领域", "备注"),
    )
)
"""Fields that describe a record rather than being said in it."""

META_NAME = re.compile(
    r".*_(id|ids|idx|hash|url|uri|source|model|models|score|scores|rating|ratings|type|lang|language|date|time|timestamp|"
    r"count|num|len|length|name|version|category|level|tokens|logps?|tag|tags|sha256|at)|(is|num|n|has|avg|mean)_.*|__.*"
)
"""Names of metadata by their form."""
