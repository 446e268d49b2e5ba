"""Phrases around what is meant, in English, German and Chinese: greetings, closings, signatures, marks of notes."""

# ruff: noqa: E501

from __future__ import annotations

import re

NAME = (
    r"(?-i:[A-ZÄÖÜÀ-Þ][\w.'’-]*(?: (?:[A-ZÄÖÜÀ-Þ][\w.'’-]*|von|van|de|team|support|service|and|und|&)){0,4})"
    r"|[^\W\d_]{2,12}(?: (?:team|support|service|care|customer service))?(?=\s*[,，!！\n])"
)
"""Pattern of a name or of how a team is called: capital letters, or one small word before a comma or the line's end."""
_STOP = r"\s*(?:[,，、!！.。:：;；~～\-–—]+|(?=\n)|\Z)\s*"
_OPEN = (
    rf"(?:dear|hello|hi|hey|hiya|greetings|good (?:morning|afternoon|evening|day)|howdy)(?: there| all| team)?"
    rf"(?:,? (?:{NAME}))?{_STOP}",
    r"(?:hello|hi|hey)(?: there)?\s+(?=(?:i|we|my|our|can|could|how|what|where|when|is|are|do|does|please|there)\b)",
    rf"(?:to whom it may concern|dear (?:sir|madam)(?: or (?:sir|madam)|/madam)?){_STOP}",
    rf"(?:sehr geehrte[rs]?|liebe[rs]?|werte[rs]?|hallo|moin(?: moin)?|servus|grüß gott|grüezi|"
    rf"guten (?:tag|morgen|abend)|schönen guten tag)(?:,? (?:damen und herren|zusammen|{NAME}))?{_STOP}",
    r"(?:尊敬的|亲爱的|親愛的)[^\s,，。:：!！\n]{1,16}[,，:：!！]\s*(?:(?:您|你)好[,，!！。~～]*\s*)?",
    r"(?:[\u4e00-\u9fff]{1,6}[,，]\s*|[\u4e00-\u9fff]{1,3}(?:先生|女士|小姐|老师|同学|经理|总)\s*)?(?:您|你|大家)们?好(?:呀|啊|哦)?(?:[,，!！。.~～、:：]+|\s+|\Z|(?=请问|我想|我要|麻烦))\s*",
    r"(?:早上|上午|中午|下午|晚上)好(?:[,，!！。.~～、:：]+|\s+|\Z)\s*",
    r"(?:哈喽|哈啰|嗨|亲?(?:在吗|在么|在不在|您好|你好)|亲亲?)(?:[,，!！。.?？~～]+|\s+|\Z)\s*",
)
_POLITE = (
    r"(?:many |thanks|thank you)(?: very much| so much| a lot)?(?: again)? for (?:contacting|reaching out|writing|getting"
    r"|your (?:e-?mail|message|inquiry|enquiry|request|reply|interest|order|patience|question|quick reply|feedback))"
    r"[^.!?\n]{0,90}[.!?,]?\s*",
    r"(?:i |we )?(?:hope|trust)(?: that)? (?:this (?:e-?mail|message) finds you|you(?:'re| are) (?:doing )?(?:well|fine|good)|you had a)[^.!?\n]{0,60}[.!?]\s*",
    r"how (?:can|may) i (?:help|assist)(?: you)?(?: today)?[.!?]*\s*",
    r"(?:my name is|you are chatting with|this is(?= (?-i:[A-Z])\w+ (?:from|with|at)\b)) [^.!?,\n]{1,40}[.!,](?:\s*(?:and )?(?:i will|i'll|i'd) [^.!?\n]{0,60}[.!?])?\s*",
    r"(?:vielen|herzlichen|besten) dank für (?:ihre?n?|deine?n?|die) (?:anfrage|nachricht|e-?mail|mail|rückmeldung|antwort|"
    r"interesse|bestellung|geduld|anruf|schreiben)[^.!?\n]{0,60}[.!]?\s*",
    r"(?:wie|womit) (?:kann|darf) ich (?:ihnen|dir) (?:heute )?(?:weiter)?helfen[.!?]*\s*",
    r"ich hoffe,? (?:es geht ihnen|sie hatten|diese e-?mail)[^.!?\n]{0,60}[.!]\s*",
    r"(?:非常)?(?:感谢|谢谢)(?:您|你)?的?(?:来信|来电|咨询|联系|耐心等待|支持|反馈|惠顾|光临|关注)(?:我们)?[^。!！,，\n]{0,8}(?:[。!！~～]|[,，](?=\s*(?:我|您|请|关于|经)))\s*",
    r"(?:欢迎(?:光临|咨询|使用|来到)[^。!！\n]{0,20}[。!！,，~～]+\s*)",
    r"(?:很高兴为您服务|请问(?:有什么|您有什么|还有什么)(?:可以|能)?(?:帮|为)(?:到)?(?:您|你)(?:的|服务|解答)?(?:吗|呢|的吗)?|"
    r"有什么(?:可以|能)(?:帮|为)(?:到)?(?:您|你)(?:的|服务|效劳)?(?:吗|呢|的吗)?)[。!！?？~～,，]*\s*",
    r"(?:我是|这里是)[^。!！,，\n]{0,12}(?:客服|专员|顾问|助手)[^。!！,，\n]{0,12}[。!！,，~～]\s*(?:很高兴为您服务[。!！~～]*\s*)?",
)
GREETINGS = {
    "user": re.compile(rf"\s*+(?:{'|'.join((*_OPEN, _POLITE[1]))})", re.I),
    "assistant": re.compile(rf"\s*+(?:{'|'.join((*_OPEN, *_POLITE))})", re.I),
}
"""Role -> pattern of what stands before the matter, once. What staff say out of courtesy a user may mean."""

_CLOSE = (
    r"(?:(?:many |kind(?:est)? |best |warm(?:est)? |with (?:kind |best |warm )?)*regards|best wishes|best|cheers|sincerely|"
    r"yours(?: (?:sincerely|faithfully|truly))?|sincerely yours|respectfully|(?:many )?thanks(?: in advance)?"
    r"(?: and (?:best|kind) regards)?|thank you(?: in advance| very much)?(?: for your (?:help|time|support))?|rgds|br)",
    r"(?:(?:mit )?(?:freundlichen?|freundlicher|besten?|herzlichen?|lieben?|schönen?|vielen?|viele)(?: (?:und|&) "
    r"(?:freundlichen?|besten?|herzlichen?))? (?:grüße[n]?|gruß|gruss|grüsse[n]?)(?: aus \w+)?|hochachtungsvoll|lg|vg|mfg|"
    r"gruß|grüße|ihr(?:e)? .{0,30}team|(?:vielen|besten) dank(?: im voraus)?(?: und (?:viele|freundliche|beste) grüße)?|danke)",
    r"(?:此致(?:敬礼)?|敬礼|顺颂商祺|顺祝商祺|祝(?:您|你)?(?:好|工作顺利|生活愉快|商祺|一切顺利|万事如意|购物愉快)|谢谢[您你]?|多谢|感谢|"
    r"(?:期待|盼)(?:您的)?(?:回复|复))",
)
CLOSING = re.compile(rf"\s*+(?:{'|'.join(_CLOSE)})[\s,，.。!！~～]*", re.I)
"""Pattern of a whole line that closes a letter."""
DEVICE = re.compile(
    r"\s*+(?:sent (?:from|via|with) (?:my |the )?.{1,40}|get outlook for .{1,20}|"
    r"(?:von|mit) (?:meine[mr]|der|dem) .{1,40} gesendet|gesendet (?:von|mit|aus) .{1,40}|diese nachricht wurde von mein.{1,60}|"
    r"(?:发|發|来)自(?:我的)?.{1,20}|(?:从|由)我的.{1,16}发送|发送自.{1,20})\s*",
    re.I,
)
CONTACT = re.compile(
    r"(?:\b(?:tel|phone|mobile|mobil|telefon|fax|cell|e-?mail|web|www|hrb|ust-?id|vat|amtsgericht|handelsregister|"
    r"geschäftsführ\w*|registered office|sitz der gesellschaft)\b\.?\s*[:：.]?|https?://|www\.|[\w.+-]+@[\w-]+\.\w|"
    r"(?:电话|手机|传真|邮箱|地址|网址|公司地址|微信|QQ)\s*[:：])",
    re.I,
)
DISCLAIMER = re.compile(
    r"(?:this (?:e-?mail|message|communication)[^\n]{0,80}(?:confidential|privileged|intended (?:only|solely))|"
    r"(?:confidentiality|disclaimer|legal) (?:notice|note)|please consider the environment|"
    r"diese (?:e-?mail|nachricht)[^\n]{0,80}(?:vertraulich|rechtlich geschützt)|"
    r"(?:本|此)(?:邮件|電郵|邮件及其附件|电子邮件)[^\n]{0,30}(?:保密|机密|机要|仅供|涉密))",
    re.I,
)
NOTE = re.compile(
    r"\s*+[\[(【<#*_]*+\s*+(?:internal(?: (?:note|comment|only))?|private note|for internal use|note to (?:team|self|colleagues)|"
    r"interne[rs]? (?:notiz|anmerkung|vermerk|kommentar|hinweis)|nur intern|内部(?:备注|备忘|留言|说明|批注)|仅(?:限)?内部(?:可见)?|客服备注)"
    r"\s*+[\])】>:：*_\-–]",
    re.I,
)
"""Pattern of a paragraph's beginning that was for colleagues alone."""
