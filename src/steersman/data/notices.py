"""Patterns of what messengers write into chat logs beside people's words: placeholders of media, system notices."""

from __future__ import annotations

import re

_THING = (
    "(?:view once )?(?:media|image|photos?|picture|videos?|audio|voice(?: message| call)?|video note|stickers?|gif|"
    "document)|file|(?:live )?location|contact(?: card)?|animation|poll|emoji|video call|medien|bild|foto|"
    "video(?:nachricht)?|sprachnachricht|dokument|datei|kontakt(?:karte)?|standort|umfrage|"
    "(?:媒体|媒體)(?:文件)?|(?:图片|语音|視頻|视频)(?:消息|号)?|图像|圖像|照片|圖片|相片|音频|音訊|語音|影片|表情|表情包|"
    "聯絡資訊|动画表情|動畫表情|贴图|貼圖|文件|檔案|文档|位置|链接|鏈接|名片|红包|微信红包|转账|拍一拍|聊天记录|小程序|"
    "语音通话|视频通话|通话|动图|卡片消息|"
    "写真|画像|スタンプ|動画|音声|ボイスメッセージ|ファイル|メディア|ステッカー|位置情報|連絡先|通話|사진|동영상|이모티콘|파일|"
    "фото|видео|голосовое сообщение|видеосообщение|стикер|документ|файл|"
    "multimedia|imagen|vídeo|nota de voz|documento|archivo|ubicación|contacto|médias?|vidéo|note vocale|message vocal|"
    "autocollant|fichier|imagem|mídia|áudio|figurinha|arquivo|localização|contato|immagine|documenti?|posizione|"
    "สติกเกอร์|รูปภาพ|รูป|วิดีโอ|ข้อความเสียง|ไฟล์|ตำแหน่ง|อัลบั้ม"
)
_LEFT = (
    "omitted|weggelassen|ausgelassen|ausgeschlossen|已忽略|已省略|被忽略|已略去|not included|omitid[oa]s?|omise?s?|"
    "absente?s?|ocultad[oa]s?|ocult[oa]s?|omess[oaie]|なし|は含まれていません|が省略されました|を除く|생략됨"
)
MEDIA = re.compile(
    rf"(?:[\[【<(]\s?(?:{_THING})(?:\s?[:：][^\]】>)]*|\s[^\]】>)]{{0,40}})?[\]】>)](?:\s*\d+[\"″秒s]?)?"
    r"|\[(?:链接|鏈接|位置|微信红包|红包|转账|小程序|聊天记录|名片|视频号)\]\s*\S.{0,80}"
    r"|\[(?:notes|albums?|ノート|メモ|アルバム|相簿|記事本)\]"
    r"|\[[^\]\n]{0,20}不支持(?:显示|展示|查看|的消息)[^\]\n]{0,20}\]"
    rf"|[📷🎤🎥📹📎🖼🎵📍👤📊🎙]\ufe0f?\s?(?:{_THING})(?:,\s?[\d:]+)?"
    rf"|\[(?:{_THING})\]\s*\S[^\n]{{0,80}}\.\w{{2,5}}"
    rf"|<?(?:{_THING})\s?(?:{_LEFT})>?"
    r"|<已?(?:省略|略去|忽略)的?(?:多?媒[体體]|影音)(?:文件|檔案?|内容|內容)?>"
    r"|<(?:多?媒[体體]|影音)(?:文件|檔案?)?[已被]?(?:省略|略去)>"
    r"|<?(?:省略多媒体文件|媒体已省略|已省略媒体|影音已略去|已略去影音檔|忽略图片|多媒体文件已省略)>?"
    r"|(?:[^<\n]{1,120}•[^<\n]{0,40})?<(?:attached|anhang|附件|已附加|adjunto|pièce jointe|allegato)\s?[:：].*>"
    r"|\S.{0,80}\.\w{2,5}\s?<(?:attached|angehängt|附件|已附加)>"
    r"|\S.{0,80}\.\w{2,5}\s?[(（](?:file attached|datei angehängt|文件附件|文件已附加|附件|檔案附件)[)）]"
    r"|\[?(?:IMG|VID|AUD|PTT|STK|DOC)-\d{8}-WA\d{4,}\.\w{3,4}\]?"
    r"|!?\[[^\]\n]*\]\((?!https?:)[^()\n]{0,200}/[^()\n]+\.\w{2,5}\)"
    r"|(?:~|/(?:var|Users|home)|attachments)/\S[^\n]{0,200}\.(?:jpe?g|png|gif|hei[cf]|webp|mov|mp4|m4a|caf|amr|opus|ogg|"
    r"vcf|pluginPayloadAttachment)"
    r"|(?:tapbacks|reactions):|(?:loved|liked|disliked|laughed(?: at)?|emphasized|questioned) by .{1,60}"
    r"|\(- [^\n]{1,200} -\)|\(\( [^\n]{1,40} \)\)"
    r"|this message responded to an earlier message\.|sent with (?:confetti|echo|fireworks|balloons|hearts?|lasers|"
    r"shooting star|sparkles|spotlight|slam|loud|gentle|invisible ink))",
    re.I,
)
"""Pattern of a line that stands for media and not text."""
EDITED = re.compile(
    r"(?:(?<!\s)\s++)?<(?:this message was edited|diese nachricht wurde bearbeitet|"
    r"(?:此?消息)?已(?:被)?(?:编辑|修改)|(?:此?訊息)?已(?:被)?編輯|"
    r"ce message a été modifié|se editó este mensaje|mensagem editada|(?:questo )?messaggio (?:è stato )?modificato|"
    r"このメッセージは編集されました|(?:이 )?메시지가 수정되었습니다)\.?>\s*",
    re.I,
)
_SPOKEN = (
    r"(?:messages (?:and calls|to this chat)|nachrichten und anrufe|nachrichten in diesem chat).{0,80}(?:encrypt|verschlüssel).*",  # noqa: E501
    r".{0,40}(?:端到端加密|端对端加密|端對端加密|全程加密).*",
    r"(?:this message was deleted|you deleted this message|message deleted|diese nachricht wurde gelöscht|"
    r"du hast diese nachricht gelöscht)\.?(?: this message.*)?(?: by admin.*)?",
    r"(?:ce message a été supprimé|vous avez supprimé ce message|(?:se eliminó|eliminaste) este mensaje|"
    r"(?:esta )?mensagem (?:foi )?apagada|você apagou esta mensagem|questo messaggio è stato eliminato|"
    r"hai eliminato questo messaggio|このメッセージは削除されました|삭제된 메시지입니다)[.。]?",
    r"(?:此消息已(?:被)?(?:管理员)?删除|此訊息已刪除|[您你](?:已删除|删除了|已刪除|刪除了)(?:此|这条|這則)(?:消息|訊息))[。.]?",
    r"(?:missed|verpasster|no answer|declined|unanswered|cancelled)[,:]? (?:group |gruppen)?"
    r"(?:voice |video |sprach|video)?(?:call|anruf)(?:[ ,.].{0,40})?",
    r"(?:voice|video|sprach)[ -]?(?:call|anruf)[,:.]? ?(?:(?:at|um) \d.{0,12}|\(?\d[\d:]*\s?(?:m|s|h).{0,20}|"
    r"\d+:\d{2}.{0,8}|(?:no answer|keine antwort|tap |tippe).{0,40})",
    r"已取消|对方(?:已取消|已拒绝|无应答).{0,8}|未接(?:来电|來電|语音|語音|视频|視訊|通话).{0,12}",
    r"(?:语音|視訊|视频|語音)(?:通话|通話|来电|來電)[,，、 ].{0,4}(?:未接|无应答|無應答|已取消|已拒绝|\d).{0,12}",
    r"通话时长[ :：]{0,2}[\d:]+",
    r"(?:waiting for this message|auf diese nachricht wird gewartet|warte auf diese nachricht|正在等待此消息).*",
    r"this message can't be displayed here.*|live location shared|live-standort geteilt",
    r"(?:location|standort|位置信息|位置資訊|ubicación|localisation|localização|posizione)[:：]\s?https?://\S+",
    r"(?-i:POLL|UMFRAGE|ENCUESTA|SONDAGE|ENQUETE|SONDAGGIO|投票)[:：](?s:\n.*)?",
    r"(?:收到|发出)(?:一个|一条)?.{0,8}请在手机上查看。?",
    r"☎\ufe0f?\s?(?:missed|cancell?ed|no answer|call time|voice call|video call|通話|不在着信|未接|取消|"
    r"無應答|无应答|已取消|応答|キャンセル|ビデオ通話|音声通話|語音通話|視訊通話|부재중|통화|취소).{0,40}",
    r"写真|スタンプ|動画|画像|アルバム|ボイスメッセージ|사진(?: \d+장)?|동영상|이모티콘",
    r"null",
)
_BY_NAME = (
    r".{0,40}(?:撤回了一条消息|撤回了一則訊息|已收回訊息|已撤回消息).{0,12}",
    r".{0,40}(?:recalled|unsent|withdrew) a message\.?",
    r".{0,40}メッセージの送信を取り消しました。?|.{0,40}메시지(?: 전송)?를 취소했습니다\.?",
    r".{0,40}拍了拍.{0,40}",
)
THING = re.compile(_THING, re.I)
"""Pattern of what a message's kind calls media."""
TAKEN_BACK = re.compile("|".join(f"(?:{form})" for form in _BY_NAME), re.I)
"""Pattern of a whole message that stands for one taken back, or for a gesture."""
SPOKEN = re.compile("|".join(f"(?:{form})" for form in _SPOKEN + _BY_NAME), re.I)
"""Pattern of a whole message that the messenger wrote under a person's name."""
_GROUP = (
    r"joined (?:using|the (?:group|chat|channel|conversation))|(?:was|were|has been) (?:added|removed)|added .{1,40}to the|"  # noqa: E501
    r"(?:has )?left(?: the (?:group|chat|conversation|channel))?\.?$|created (?:this )?group|"
    r"changed (?:the|this|their|to|her|his)|security code|pinned a message|turned (?:on|off) disappearing|"
    r"disappearing messages|is a contact|now an admin|joined the chat|"
    r"beigetreten|hat die gruppe|hat .{1,40}(?:hinzugefügt|entfernt)|gruppenbild|betreff|sicherheitsnummer|"
    r"telefonnummer .{0,20}geändert|selbstlöschende|wurde(?:st)? (?:hinzugefügt|entfernt)|du hast die gruppe|"
    r"加入了?群|加入群聊|退出了?群|离开了?群|邀请.{0,40}加入|移出了?群|修改群名|创建了?群|通过了.{0,20}好友验证|"
    r"添加了.{0,40}现在可以开始聊天|以上是打招呼的内容|领取了.{0,20}红包|安全码|更改了|转接(?:给|至)|进入(?:了)?会话|接入(?:了)?会话"
)
GROUP = re.compile("|".join((_GROUP, *_SPOKEN, *_BY_NAME)), re.I)
"""Pattern of a system notice, searched in lines without a known name."""
BOUNDARY = re.compile(
    r"\W*(?:(?:chat|conversation|session|transcript)\s(?:has\s)?(?:been\s)?(?:started|began|ended|closed|opened|finished)\b.{0,80}|"
    r"(?:chat|gespräch|sitzung|unterhaltung)\s(?:wurde\s)?(?:gestartet|begonnen|beendet|geschlossen)\b.{0,60}|"
    r"(?:本次)?(?:会话|對話|对话|聊天|会話)(?:已)?(?:经)?(?:开始|结束|結束|关闭|關閉|终止).{0,40})\W*",
    re.I,
)
"""Pattern of a notice that ends a dialogue."""
NUMBERED = re.compile(
    r"\W*(?:(?:session|conversation|chat|dialog(?:ue)?|ticket|case|id|会话|對話|对话|聊天|工单|咨询)\s?)+(?:编号|号|no\.?|number)?"
    r"\s*[:：=#]*\s*(?=\S*\d)[\w-]{1,40}\W*",
    re.I,
)
"""Pattern of a line that numbers the dialogue below it."""
RULE = re.compile(r"[-=*_—–─]{3,}(?:.{0,40}[-=*_—–─]{3,})?")
"""Pattern of a line that separates dialogues."""
_LABELS = """
    note notes ps re fw fwd subject total sum price address order date time name email e-mail phone tel mobile
    http https www url link from to cc step tip tips warning important example hint summary result answer
    question hinweis adresse bestellung datum betreff preis telefon summe anmerkung achtung beispiel schritt 注意
    提示 地址 电话 手机 姓名 日期 时间 价格 金额 订单 订单号 单号 备注 说明 例如 步骤 邮箱 链接 网址 温馨提示
    总计 收件人
"""
LABELS = frozenset(_LABELS.split())
"""Words before a colon that are not speakers."""


_SHOWN = (
    r"(?:[\[【](?:图片|圖片|照片|表情|动画表情|動畫表情|贴图|貼圖|动图|语音|視頻|视频|写真|画像|スタンプ|image|sticker)"
    r"[\]】](?!\())"
)
EDGE = re.compile(rf"\A(?:{_SHOWN}\s?)+|(?<!!)(?:\s?{_SHOWN})+\Z", re.I)
"""Pattern of placeholders that begin or end a line of words."""


def without_edges(line: str) -> tuple[str, int]:
    """A line without the placeholders that it begins or ends with, and how many they were; of nothing but those all."""
    bare, n = EDGE.subn("", line.strip()) if "[" in line or "【" in line else (line, 0)
    return (bare.strip(), n) if n and bare.strip() else (line, 0)


def unquoted(text: str) -> str:
    """A message without the quotes that LINE puts around messages of several lines."""
    if "\n" in text and len(text) > 2 and text[0] == text[-1] == '"':
        return text[1:-1].replace('""', '"')
    return text
