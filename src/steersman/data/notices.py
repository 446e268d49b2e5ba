"""What messengers write into a chat log besides what people say: placeholders of media, notices of the system."""

from __future__ import annotations

import re

_THING = (
    "media|image|photo|picture|video|audio|voice|voice message|video note|sticker|gif|document|file|location|contact|"
    "contact card|animation|poll|medien|bild|foto|video(?:nachricht)?|sprachnachricht|dokument|datei|kontakt(?:karte)?|"
    "standort|umfrage|图片|照片|圖片|相片|语音|語音|语音消息|視頻|视频|影片|表情|表情包|动画表情|動畫表情|贴图|貼圖|"
    "文件|檔案|文档|位置|链接|鏈接|名片|红包|微信红包|转账|拍一拍|聊天记录|小程序|语音通话|视频通话|通话|动图|卡片消息|"
    "写真|画像|スタンプ|動画|音声|ボイスメッセージ|ファイル|メディア|ステッカー|사진|동영상|이모티콘|파일|"
    "multimedia|imagen|vídeo|nota de voz|documento|archivo|ubicación|contacto|médias?|vidéo|note vocale|message vocal|"
    "autocollant|fichier|imagem|mídia|áudio|figurinha|arquivo|localização|contato|immagine|sticker|documenti?|posizione"
)
_LEFT = (
    "omitted|weggelassen|ausgeschlossen|已忽略|已省略|被忽略|已略去|not included|omitid[oa]s?|omise?s?|absente?s?|"
    "ocultad[oa]s?|ocult[oa]s?|omess[oaie]|なし|は含まれていません|が省略されました|を除く|생략됨"
)
MEDIA = re.compile(
    rf"(?:[\[【<(](?:{_THING})(?:[:：][^\]】>)]*|\s[^\]】>)]{{0,40}})?[\]】>)](?:\s*\d+[\"″秒s]?)?"
    rf"|\[(?:{_THING})\]\s*\S[^\n]{{0,80}}\.\w{{2,5}}"
    rf"|<?(?:{_THING})\s?(?:{_LEFT})>?"
    r"|<?(?:省略多媒体文件|媒体已省略|已省略媒体|影音已略去|已略去影音檔|忽略图片|多媒体文件已省略)>?"
    r"|<(?:attached|anhang|附件|已附加|adjunto|pièce jointe|allegato)\s?[:：].*>"
    r"|\S.{0,80}\.\w{2,5}\s?[(（](?:file attached|datei angehängt|文件附件|文件已附加|附件|檔案附件)[)）]"
    r"|\[?(?:IMG|VID|AUD|PTT|STK|DOC)-\d{8}-WA\d{4,}\.\w{3,4}\]?)",
    re.I,
)
"""A line that stands for something other than text."""
EDITED = re.compile(
    r"\s*<(?:this message was edited|diese nachricht wurde bearbeitet|此消息已(?:被)?编辑|已编辑|此訊息已編輯|"
    r"ce message a été modifié|se editó este mensaje|mensagem editada|(?:questo )?messaggio (?:è stato )?modificato|"
    r"このメッセージは編集されました|(?:이 )?메시지가 수정되었습니다)\.?>\s*",
    re.I,
)
_SPOKEN = (
    r"(?:messages (?:and calls|to this chat)|nachrichten und anrufe|nachrichten in diesem chat).{0,80}(?:encrypt|verschlüssel).*",  # noqa: E501
    r".{0,40}(?:端到端加密|端对端加密|端對端加密|全程加密).*",
    r"(?:this message was deleted|you deleted this message|message deleted|diese nachricht wurde gelöscht|"
    r"du hast diese nachricht gelöscht)\.?(?: this message.*)?",
    r"(?:ce message a été supprimé|vous avez supprimé ce message|(?:se eliminó|eliminaste) este mensaje|"
    r"(?:esta )?mensagem (?:foi )?apagada|você apagou esta mensagem|questo messaggio è stato eliminato|"
    r"hai eliminato questo messaggio|このメッセージは削除されました|삭제된 메시지입니다)[.。]?",
    r"(?:此消息已(?:被)?删除|此訊息已刪除|您已删除此消息|你删除了这条消息)[。.]?",
    r"(?:missed|verpasster|no answer|declined|unanswered|cancelled).{0,24}(?:call|anruf)(?:.{0,40})?",
    r"(?:voice|video|sprach|video)[ -]?(?:call|anruf)[,:]? .{0,40}(?:\d|answer|antwort|tap|tippe).*",
    r"(?:未接|已取消|对方已取消|对方已拒绝|对方无应答|通话时长).{0,20}",
    r"(?:waiting for this message|auf diese nachricht wird gewartet|正在等待此消息).*",
    r"null",
)
_BY_NAME = (
    r".{0,40}(?:撤回了一条消息|撤回了一則訊息|已收回訊息|已撤回消息).{0,12}",
    r".{0,40}(?:recalled|unsent|withdrew) a message\.?",
    r".{0,40}拍了拍.{0,40}",
)
SPOKEN = re.compile("|".join(f"(?:{form})" for form in _SPOKEN + _BY_NAME), re.I)
"""A whole message that the messenger wrote, though it stands under a name."""
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
"""Found in a line without a name that anybody knows: a notice of the system."""
BOUNDARY = re.compile(
    r"\W*(?:(?:chat|conversation|session|transcript)\s(?:has\s)?(?:been\s)?(?:started|began|ended|closed|opened|finished)\b.{0,80}|"
    r"(?:chat|gespräch|sitzung|unterhaltung)\s(?:wurde\s)?(?:gestartet|begonnen|beendet|geschlossen)\b.{0,60}|"
    r"(?:本次)?(?:会话|對話|对话|聊天|会話)(?:已)?(?:经)?(?:开始|结束|結束|关闭|關閉|终止).{0,40})\W*",
    re.I,
)
"""A notice that ends a dialogue."""
RULE = re.compile(r"[-=*_—–─]{3,}(?:.{0,40}[-=*_—–─]{3,})?")
"""A line that parts dialogues."""
_LABELS = """
    note notes ps re fw fwd subject total sum price address order date time name email e-mail phone tel mobile
    http https www url link from to cc step tip tips warning important example hint summary result answer
    question hinweis adresse bestellung datum betreff preis telefon summe anmerkung achtung beispiel schritt 注意
    提示 地址 电话 手机 姓名 日期 时间 价格 金额 订单 订单号 单号 备注 说明 例如 步骤 邮箱 链接 网址 温馨提示
    总计 收件人
"""
LABELS = frozenset(_LABELS.split())
"""Words before a colon that are no speakers."""
