"""What the shop's rule judge says of an answer, and the shop's intents, in Chinese: both are kept in English, and shown
in the report's language."""

from __future__ import annotations

import re

_ZH = {
    "is empty": "没有内容",
    "repeats itself in a loop": "陷入循环重复",
    "repeats itself": "有重复",
    "copies the prompt instead of answering": "照抄提问，没有回答",
    "mostly copies the prompt": "大部分照抄提问",
    "is a list of words rather than sentences": "只是罗列词语，不成句",
    "does not name the {fact}": "没有说出{fact}",
    "does not say that the order is {word}": "没有说明订单{word}",
    "does not answer the question about the {word} with {side}": "关于{word}的问题，没有回答“{side}”",
    "does not correct the customer": "没有纠正顾客的说法",
    "does not decline": "没有拒绝",
    "does not say what can be done instead": "没有说明可以怎么做",
    "gives no reason": "没有说明理由",
    "does not do what was wanted ({act})": "没有做到所要求的（{act}）",
    "claims that the order is {word} but it is {other}": "称订单{word}，实际{other}",
    "denies that the order is {word}": "否认订单{word}",
    "says {side} about the {word} where {other} is right": "关于{word}回答“{side}”，正确的是“{other}”",
    "complies with what it should decline": "答应了应当拒绝的要求",
    "denies the right {fact}": "否认了正确的{fact}",
    "repeats the customer's wrong {fact}": "重复了顾客说错的{fact}",
    "names a {word} that is not the answer: {value}": "说出的{word}不是答案：{value}",
    "names an order that is not the customer's: {value}": "说出了不属于该顾客的订单：{value}",
    "refuses where help was possible": "本可以帮忙，却拒绝了",
    "buries the answer in far too much text": "文字过多，答案被淹没",
    "invents the {fact}": "编造了{fact}",
    "is not written in {word}": "没有用{word}作答",
    "is too long: {n} {unit}, limit {most}": "过长：{n} {unit}，上限 {most}",
    "blames the customer or is rude": "责怪顾客或不礼貌",
    "does not apologise for the trouble": "没有为造成的不便道歉",
    "has {n} sentences, one was wanted": "有 {n} 句，只要一句",
    "has {n} {unit}, at most {most} were wanted": "有 {n} {unit}，最多应为 {most}",
    "is not a numbered list": "不是编号列表",
    "uses an exclamation mark": "用了感叹号",
    "starts with {side}, {other} is right": "以“{side}”开头，正确的是“{other}”",
    "does not start with {side}": "没有以“{side}”开头",
    "does not end with the order number": "没有以订单号结尾",
    "does not address the customer by name": "没有称呼顾客的姓名",
    "does not greet or acknowledge the customer": "没有问候或回应顾客",
    "offers no next step or further help": "没有给出下一步或进一步的帮助",
    "has no courteous closing": "没有礼貌的结尾",
    "breaks off in its last sentence": "最后一句没有写完",
    "rambles": "啰嗦",
}
_WORDS = {
    **{"order number": "订单号", "order": "订单", "amount": "金额", "money": "金额", "period": "期限", "days": "天数"},
    **{
        "years": "年限",
        "date": "日期",
        "percent": "百分比",
        "contact": "联系方式",
        "colour": "颜色",
        "material": "材质",
    },
    **{"carrier": "承运商", "return": "退货", "stock": "库存", "yes": "是", "no": "否", "or": "或", "and": "和"},
    **{"processing": "处理中", "shipped": "已发货", "delivered": "已送达", "delayed": "已延误", "cancelled": "已取消"},
    **{"Chinese": "中文", "English": "英文", "words": "个词", "characters": "字"},
    **{"refund": "退款", "invoice": "发票", "shipping": "配送", "size": "尺寸", "price": "价格", "warranty": "保修"},
    **{"replace": "换货", "resend": "补发", "fee back": "退还运费", "keep": "保留订单"},
    **{"exchange": "换款", "credit": "补偿", "friendly": "友好回应", "text": "文字"},
}
_INTENTS = {
    "changed_mind": "改变主意",
    "complaint": "投诉",
    "delivery": "配送",
    "ellipsis": "省略的追问",
    "improper": "不当要求",
    "invoice": "发票",
    "order_status": "订单状态",
    "out_of_scope": "业务之外",
    "product_question": "商品咨询",
    "refund": "退款",
    "return": "退货",
    "small_talk": "闲聊",
    "wrong_premise": "错误前提",
}
_FORMS = [(re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+?)", re.escape(text))), own) for text, own in _ZH.items()]
_WORD = re.compile(rf"\S*[@.]\S*| ?\b(?!\S*[@.])({'|'.join(sorted(_WORDS, key=len, reverse=True))})\b ?")
"""A word of ours, or an address or number, which is kept."""


def in_language(reason: str, language: str) -> str:
    """A reason of the judge; as it is where nobody has translated it."""
    if language != "zh":
        return reason
    for form, own in _FORMS:
        if found := form.fullmatch(reason):
            return own.format(**{name: _WORD.sub(_own, value) for name, value in found.groupdict().items()})
    return reason


def _own(found: re.Match[str]) -> str:
    return _WORDS[found[1]] if found[1] else found[0]


def intent_name(intent: str, language: str) -> str:
    """What the customer wants, in words; as the data names it where nobody has translated it."""
    return _INTENTS.get(intent, intent) if language == "zh" else intent.replace("_", " ")
