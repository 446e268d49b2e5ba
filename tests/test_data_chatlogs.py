"""Chat logs of messengers and help desks: whose words are whose, and where a dialogue ends."""

# ruff: noqa: E501

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from imported import said
from steersman.data.importing import Imported, parse_file

Dialogue = list[tuple[str, str]]
ASKED: Dialogue = [("user", "Is it open?\nAnd tomorrow?"), ("assistant", "Yes.\nTill ten: every day.")]


def read(
    tmp_path: Path, text: str | bytes, speakers: str = "Anna,Shop", name: str = "log.txt", **options: Any
) -> Imported:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return parse_file(path, speakers=speakers, encoding="auto", **options)


FORMS = {
    "android, day first": "{d:02}.{m:02}.24, {h:02}:{n:02} - {who}: {text}",
    "android, United Kingdom": "{d:02}/{m:02}/2024, {h:02}:{n:02} - {who}: {text}",
    "android, United States": "{m}/{d}/24, {h12}:{n:02}\u202f{ap} - {who}: {text}",
    "android, Spanish halves": "{d}/{m}/2024, {h12}:{n:02} {ap_es} - {who}: {text}",
    "android, Arabic": "\u200f{d}\u200f/{m}\u200f/2024, {h12}:{n:02} {ap_ar} - {who}: {text}",
    "android, Chinese": "2024/{m}/{d} {half}{h12}:{n:02} - {who}: {text}",
    "android, long Chinese date": "2024年{m}月{d}日 {half}{h12}:{n:02} - {who}: {text}",
    "ios, German": "[{d:02}.{m:02}.24, {h:02}:{n:02}:{s:02}] {who}: \u200e{text}",
    "ios, United States": "\u200e[{m}/{d}/24, {h12}:{n:02}:{s:02} {ap}] {who}: {text}",
    "ios, Chinese": "[2024/{m}/{d} {half}{h12}:{n:02}:{s:02}] {who}: {text}",
    "whatsapp web": "[{h:02}:{n:02}, {d}.{m}.2024] {who}: {text}",
    "iso": "2024-{m:02}-{d:02} {h:02}:{n:02}:{s:02} {who}: {text}",
    "iso with T": "2024-{m:02}-{d:02}T{h:02}:{n:02}:{s:02}Z {who}: {text}",
    "signal": "[2024-{m:02}-{d:02}, {h:02}:{n:02}] {who}: {text}",
    "zendesk": "({h:02}:{n:02}:{s:02}) {who}: {text}",
    "time alone": "{h:02}:{n:02} {who}: {text}",
    "line": "{h:02}:{n:02}\t{who}\t{text}",
    "time behind the name": "{who} ({h12}:{n:02} {ap}): {text}",
    "intercom": "{h:02}:{n:02} {ap} | {who}: {text}",
    "wechat": "2024-{m:02}-{d:02} {h:02}:{n:02}:{s:02} {who}\n{text}\n",
    "qq": "2024-{m:02}-{d:02} {h:02}:{n:02}:{s:02} {who}(10001{who_len})\n{text}\n",
    "name before": "{who} 2024-{m:02}-{d:02} {h:02}:{n:02}:{s:02}\n{text}\n",
    "kakao": "[{who}] [{ap} {h12}:{n:02}] {text}",
    "kakao, Korean": "2024년 {m}월 {d}일 {half_ko} {h12}:{n:02}, {who} : {text}",
    "discord, copied": "{who} — Today at {h:02}:{n:02}\n{text}\n",
    "wechat, mailed": "{who}  {h:02}:{n:02}\n\n{text}\n",
    "qq, title": "2024-{m:02}-{d:02} {h12}:{n:02}:{s:02} {ap} 【群主】{who}(10001)\n{text}\n",
    "telegram, copied": "{who}, [{d:02}.{m:02}.2024 {h:02}:{n:02}]\n{text}\n",
    "feishu, copied": "{who}\n{m}月{d}日 {h:02}:{n:02}\n{text}\n",
    "dingtalk": "{who} {m:02}-{d:02} {h:02}:{n:02}:{s:02}\n{text}\n",
    "day and month with points": "[{d}.{m}., {h:02}:{n:02}] {who}: {text}",
    "line, desktop": "{h:02}:{n:02} {who} {text}",
    "words for months": "{d} Mar 2024, {h:02}:{n:02} - {who}: {text}",
}
MESSAGES = (
    ("Anna", 9, 0, "Is it open?"),
    ("Anna", 9, 1, "And tomorrow?"),
    ("Shop", 9, 2, "Yes.\nTill ten: every day."),
    ("Berta", 14, 3, "I am somebody else: 12:30"),
    ("Anna", 14, 4, "Where is it?"),
    ("Shop", 14, 5, "There."),
)


def line(form: str, who: str, hour: int, minute: int, text: str, day: int = 13, month: int = 3) -> str:
    return form.format(
        who=who, text=text, d=day, m=month, h=hour, h12=hour % 12 or 12, n=minute, s=7, ap="AM" if hour < 12 else "PM",
        ap_es="a. m." if hour < 12 else "p. m.", half="上午" if hour < 12 else "下午",
        ap_ar="ص" if hour < 12 else "م",
        half_ko="오전" if hour < 12 else "오후", who_len=len(who),
    )  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_forms_of_stamps(tmp_path: Path, name: str, end: str) -> None:
    text = "\n".join(line(FORMS[name], *message) for message in MESSAGES).replace("\n", end)
    told: list[str] = []
    found = read(tmp_path, text, tell=told.append)
    assert said(found) == [ASKED, [("user", "Where is it?"), ("assistant", "There.")]]
    assert found.changed["messages of speakers that --speakers does not name left out"] == 1
    assert any("Berta" in t for t in told)


STRANGERS = ("Eve", "Dr. Bob Müller", "王五", "+49 171 123", "李四(售前)", "~Kim", "Ann-Marie O'Neil", "Zoë 🌸")


def expected(messages: list[tuple[str, int, int, str]]) -> list[Dialogue]:
    """Dialogues of a log, cut where a stranger speaks, from the first question to the last answer."""
    out: list[Dialogue] = [[]]
    for who, _, _, text in messages:
        role = {"Anna": "user", "Shop": "assistant"}.get(who)
        if role is None:
            out.append([])
        elif out[-1] and out[-1][-1][0] == role:
            out[-1][-1] = (role, f"{out[-1][-1][1]}\n{text}")
        elif out[-1] or role == "user":
            out[-1].append((role, text))
    ended = [d if d[-1][0] == "assistant" else d[:-1] for d in out if d]
    return [d for d in ended if d]


@pytest.mark.parametrize("name", FORMS)
def test_nobody_elses_words_are_in_a_dialogue_and_no_speakers_are_lost(tmp_path: Path, name: str) -> None:
    strangers = STRANGERS if name != "line, desktop" else ("Eve", "王五")  # a space parts names from words there
    for seed in range(4):
        draw = random.Random(f"{name} {seed}")
        messages = [("Anna", 9, 0, "first"), ("Shop", 9, 1, "second")]
        for i in range(2, 12):
            who = draw.choice(["Anna", "Shop", "Anna", "Shop", draw.choice(strangers)])
            more = f"\nmore {i} at 10:30" if draw.random() < 0.3 else ""
            messages.append((who, 9, i, f"word {i}{more if who in ('Anna', 'Shop') else ''}"))
        log = "\n".join(line(FORMS[name], *message) for message in messages)
        assert said(read(tmp_path, log, session_hours=0)) == expected(messages)


HEADS = {
    "line": "[LINE] Chat history with Anna\nSaved on: 2024/03/14 10:00\n\n2024/03/13(Wed)\n",
    "kakao": "Chat with Anna\nDate Saved : 2024-03-14 10:00:00\n\n--------------- Wednesday, March 13, 2024 ---------------\n",
    "qq": "消息记录（此消息记录为文本格式，不支持重新导入）\n\n======\n消息分组:我的好友\n======\n消息对象:Anna\n======\n\n",
    "wechat, mailed": "Dear:\n\n—————  2024-03-13  —————\n\n",
    "zendesk": "Chat started on 2024-03-13\n",
}


@pytest.mark.parametrize("name", HEADS)
def test_headings_of_logs(tmp_path: Path, name: str) -> None:
    form = FORMS[name]
    found = read(tmp_path, HEADS[name] + "\n".join(line(form, *message) for message in MESSAGES))
    assert said(found) == [ASKED, [("user", "Where is it?"), ("assistant", "There.")]]


def test_line_quotes_messages_over_several_lines(tmp_path: Path) -> None:
    text = '2024.03.13 Wednesday\n09:00\tAnna\t"Is it ""open""?\nAnd tomorrow?"\n09:01\tShop\t[File] a.pdf\n09:02\tShop\t"Yes."\n'
    assert said(read(tmp_path, text)) == [[("user", 'Is it "open"?\nAnd tomorrow?'), ("assistant", '"Yes."')]]


def test_without_speakers_they_are_named(tmp_path: Path) -> None:
    text = "\n".join(line(FORMS["ios, German"], *message) for message in MESSAGES)
    for options in ({}, {"format": "chatlog"}):
        with pytest.raises(ValueError, match=r"--speakers USER,ASSISTANT.*Anna \(3\), Shop \(2\), Berta \(1\)"):
            read(tmp_path, text, "", **options)
    with pytest.raises(ValueError, match=r"log\.txt:1: expected 'Eve: \.\.\.' or 'Mel: \.\.\.'.*Anna \(3\)"):
        read(tmp_path, text, "Eve,Mel")
    for bad in ("Anna", "Anna,", "Anna,Anna", "a,b,c"):
        with pytest.raises(ValueError, match="expected two names, the user's first"):
            read(tmp_path, text, bad)


def test_several_names_of_a_side_and_everybody_else(tmp_path: Path) -> None:
    text = "\n".join(line(FORMS["ios, German"], *message) for message in MESSAGES)
    both = read(tmp_path, text, "Anna|berta,Shop")
    assert said(both)[0] == ASKED
    assert len(both.records) == 2, "another customer is another dialogue"
    handed = text.replace("Till ten", "Till ten").replace("] Shop: \u200eThere.", "] Bob: \u200eThere.")
    assert said(read(tmp_path, handed, "*,Shop|Bob")) == said(read(tmp_path, text, "*,shop"))
    assert said(read(tmp_path, text, "*,Shop"))[-1] == [("user", "Where is it?"), ("assistant", "There.")]


PLACEHOLDERS = (
    "<Media omitted>", "<Medien ausgeschlossen>", "image omitted", "Bild weggelassen", "\u200esticker omitted",
    "[图片]", "[语音]", "[语音] 5秒", "[表情]", "[Photo]", "[Sticker]", "[文件: a.pdf]", "<attached: 0001-PHOTO.jpg>",
    "IMG-20240313-WA0001.jpg (file attached)", "<附件: 1.jpg>", "图片已忽略", "<省略多媒体文件>",
    "This message was deleted", "You deleted this message.", "Diese Nachricht wurde gelöscht.", "此消息已删除",
    "你撤回了一条消息", '"Anna" 撤回了一条消息', "Missed voice call", "Verpasster Sprachanruf", "未接来电", "通话时长 01:20",
    "Messages and calls are end-to-end encrypted. No one outside of this chat can read them.",
    "Nachrichten und Anrufe sind Ende-zu-Ende-verschlüsselt.", "[视频]", "null",
)  # fmt: skip


@pytest.mark.parametrize("what", PLACEHOLDERS)
@pytest.mark.parametrize("form", ["ios, German", "android, United States", "wechat"])
def test_what_messengers_write_is_no_turn(tmp_path: Path, what: str, form: str) -> None:
    messages = (*MESSAGES[:2], ("Anna", 9, 1, what), ("Shop", 9, 1, what), MESSAGES[2])
    found = read(tmp_path, "\n".join(line(FORMS[form], *message) for message in messages))
    assert said(found) == [ASKED]
    assert sum(n for why, n in found.changed.items() if "left out" in why) == 2


WRITTEN = (
    *(
        "live location shared",
        "POLL:\nWhich day?\nOPTION: Monday (1 vote)",
        "<View once voice message omitted>",
        "[ File : a.pdf ]",
    ),
    *(
        "Location: https://maps.example/?q=1,2",
        "This message was deleted by admin Eve",
        "0012-PHOTO-2024.jpg <attached>",
    ),
    *(
        "a.pdf • 2 pages <attached: 13-a.pdf>",
        "Kontaktkarte ausgelassen",
        "UMFRAGE:\nWann?",
        "Warte auf diese Nachricht",
    ),
    *(
        "<媒体文件已省略>",
        "图像已忽略",
        "您删除了此消息。",
        "位置信息：https://maps.example/?q=1,2",
        "[微信红包]恭喜发财，大吉大利",
    ),
    *(
        "[链接] 商品标题",
        "[位置]北京市",
        "收到红包，请在手机上查看",
        "[该消息类型暂不支持显示]",
        "[图片消息]",
        "📷 Photo",
    ),
    *("🎤 Voice message, 0:05", "☎ Missed call", "☎ 通話時間 1:23", "☎ 不在着信", "メッセージの送信を取り消しました"),
    *("[Albums]", "[位置情報]", "[Фото]", "写真", "사진 2장"),
)
SAID = (
    *("[Note: bring the receipt]", "[注意] 请保留小票", "Poll: which?", "☎ 02-123 4567", "Missed your call, sorry!"),
    *(
        "Video call us at 030 123",
        "已取消您的订单，退款三天到账",
        "未接到您的电话，抱歉",
        "当前版本不支持该功能",
        "This photo is nice",
    ),
)


def test_what_messengers_write_and_what_only_looks_so(tmp_path: Path) -> None:
    for what in (*WRITTEN, *SAID):
        messages = (*MESSAGES[:2], ("Shop", 9, 1, what), ("Shop", 9, 2, "Yes."))
        ((_, (_, answer)),) = said(read(tmp_path, "\n".join(line(FORMS["ios, German"], *m) for m in messages)))
        assert answer == ("Yes." if what in WRITTEN else f"{what}\nYes.")


def test_stamps_inside_a_message_are_said(tmp_path: Path) -> None:
    words = "Your mail:\n27.11.2024 09:00 delivery\n2024-11-27 08:00:00 departed\n[12:30] arrived\nRight?"
    log = f"[2024-11-28, 10:01:02] Anna: {words}\n[2024-11-28, 10:02:02] Shop: Yes:\n10:30 Berlin\n"
    assert said(read(tmp_path, log)) == [[("user", words), ("assistant", "Yes:\n10:30 Berlin")]]
    log = "Anna: When?\nShop: Hours:\n3-5 10:30 Uhr\n9:00 open\nAnna: thanks at 10:30\nShop: Bye\n"
    assert said(read(tmp_path, log))[0][1] == ("assistant", "Hours:\n3-5 10:30 Uhr\n9:00 open")


def test_strangers_with_a_title_behind_the_name(tmp_path: Path) -> None:
    messages = (*MESSAGES[:3], ("王五（销售部）", 9, 5, "138"), ("李四(售前)", 9, 5, "139"), *MESSAGES[4:])
    log = "\n".join(line(FORMS["name before"], *message) for message in messages)
    assert said(read(tmp_path, log)) == [ASKED, [("user", "Where is it?"), ("assistant", "There.")]]


@pytest.mark.parametrize(
    "notice",
    [
        "Messages and calls are end-to-end encrypted. Tap to learn more.",
        "Anna joined using this group's invite link",
        "Shop changed the subject from “a: b” to “c: d”",
        "Anna hat die Gruppe „Kunden: Nord“ erstellt",
        "Berta ist der Gruppe beigetreten",
        "Anna邀请李四加入了群聊",
        "李四退出了群聊",
    ],
)
def test_lines_of_the_system(tmp_path: Path, notice: str) -> None:
    form = FORMS["android, day first"]
    system = line(form, "", 9, 1, "").removesuffix(": ") + notice
    text = "\n".join([line(form, *MESSAGES[0]), system, *(line(form, *m) for m in MESSAGES[1:3]), system])
    found = read(tmp_path, text)
    assert said(found) == [ASKED]
    assert found.changed["notices of the messenger left out"] == 2


def test_words_that_only_sound_like_notices_stay(tmp_path: Path) -> None:
    form = FORMS["ios, German"]
    words = "My colleague left the group and I missed a call, see [图片] or <b>this</b>, at 10:30: ok?"
    text = "\n".join(
        (line(form, "Anna", 9, 0, words), line(form, "Shop", 9, 1, "Note: we joined the chat.\n10:30 is fine"))
    )
    assert said(read(tmp_path, text)) == [[("user", words), ("assistant", "Note: we joined the chat.\n10:30 is fine")]]


def test_captions_stay_and_marks_of_editing_go(tmp_path: Path) -> None:
    form = FORMS["ios, German"]
    text = "\n".join(
        (
            line(form, "Anna", 9, 0, "<attached: 1.jpg>\nWhat is this?"),
            line(form, "Shop", 9, 1, "A shoe. <This message was edited>"),
        )
    )
    assert said(read(tmp_path, text)) == [[("user", "What is this?"), ("assistant", "A shoe.")]]


def test_sessions_are_cut_by_time(tmp_path: Path) -> None:
    form = FORMS["android, United States"]  # 3/4 and 3/5 are days apart, not months
    messages = [
        ("Anna", 9, 0, "a", 4, 3), ("Shop", 22, 0, "b", 4, 3), ("Anna", 23, 0, "c", 4, 3), ("Shop", 23, 1, "d", 4, 3),
        ("Anna", 9, 0, "e", 5, 3), ("Shop", 9, 1, "f", 5, 3),
    ]  # fmt: skip
    text = "\n".join(line(form, *message) for message in messages)
    told: list[str] = []
    first = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    second = [("user", "e"), ("assistant", "f")]
    assert said(read(tmp_path, text, tell=told.append)) == [first, second], "an answer may come late"
    assert "1 dialogues end where nobody spoke for 6 hours" in told[-1]
    assert said(read(tmp_path, text, session_hours=24)) == [first + second]
    assert said(read(tmp_path, text, session_hours=0)) == [first + second]
    assert len(said(read(tmp_path, text, session_hours=0.5))) == 3
    night = "23:50 Anna: late?\n00:10 Shop: Yes.\n09:00 Anna: early?\n09:01 Shop: Too.\n"
    assert len(said(read(tmp_path, night))) == 2


def test_last_words_of_the_user_are_cut_off_demonstrations_and_kept_in_prompts(tmp_path: Path) -> None:
    form = FORMS["ios, German"]
    text = "\n".join(line(form, *message) for message in (*MESSAGES[:3], ("Anna", 9, 9, "Thanks!")))
    found = read(tmp_path, text)
    assert (said(found), found.changed["last turns of the user cut off"]) == ([ASKED], 1)
    assert said(read(tmp_path, text, kind="prompts")) == [[*ASKED, ("user", "Thanks!")]]


def test_transcripts_without_stamps(tmp_path: Path) -> None:
    text = "Chat started\n**Anna:** Is it open?\nAnna: And tomorrow?\nShop：Yes.\nTill ten: every day.\nConversation closed\n"
    text += "Eva: x\nShop: y\nEva: z\n---\nAnna: Note: a\nShop: Address: b\nAddress: c\n"
    assert said(read(tmp_path, text)) == [ASKED, [("user", "Note: a"), ("assistant", "Address: b\nAddress: c")]]


TELEGRAM = {
    "name": "Anna",
    "type": "personal_chat",
    "id": 1,
    "messages": [
        {"id": 1, "type": "service", "date": "2024-03-13T09:00:00", "actor": "Anna", "action": "phone_call", "text": ""},
        {"id": 2, "type": "message", "date": "2024-03-13T09:00:00", "from": "Anna", "from_id": "u1", "text": "Is it open?"},
        {"id": 3, "type": "message", "date": "2024-03-13T09:01:00", "from": "Anna", "from_id": "u1", "text": ["And ", {"type": "bold", "text": "tomorrow?"}]},
        {"id": 4, "type": "message", "date": "2024-03-13T09:01:30", "from": "Shop", "from_id": "u2", "photo": "(File not included)", "text": ""},
        {"id": 5, "type": "message", "date": "2024-03-13T09:02:00", "from": "Shop", "from_id": "u2", "text": "Yes.\nTill ten: every day."},
    ],
}  # fmt: skip


@pytest.mark.parametrize("indent", [None, 1])
def test_telegram_json(tmp_path: Path, indent: int | None) -> None:
    told: list[str] = []
    one = json.dumps(TELEGRAM, indent=indent, ensure_ascii=False)
    found = read(tmp_path, one, "", "result.json", tell=told.append)
    assert said(found) == [ASKED], "the partner of a chat is the user"
    assert "Anna is read as the user and Shop as the assistant" in told[0]
    assert found.changed["notices of the messenger left out"] == 1
    assert found.changed["placeholders of images, voice and the like left out"] == 1
    every = {
        "about": "",
        "chats": {"about": "", "list": [TELEGRAM, TELEGRAM | {"name": "Group", "type": "private_group"}]},
    }
    assert said(read(tmp_path, json.dumps(every, indent=indent), name="result.json")) == [ASKED, ASKED]
    with pytest.raises(ValueError, match=r"result\.json.*no message is theirs.*Anna \(2\), Shop"):
        read(tmp_path, one, "Eve,Mel", "result.json")


def test_telegram_html(tmp_path: Path) -> None:
    def message(who: str, minute: int, text: str) -> str:
        name = f'<div class="from_name">{who} </div>' if who else ""
        joined = "" if who else " joined"
        return (
            f'<div class="message default clearfix{joined}" id="m{minute}"><div class="body">'
            f'<div class="pull_right date details" title="13.03.2024 09:0{minute}:00 UTC+01:00">09:0{minute}</div>'
            f'{name}<div class="text">\n{text}\n</div></div></div>\n'
        )

    page = '<!DOCTYPE html>\n<html><body><div class="history">'
    page += '<div class="message service" id="m-1"><div class="body details">13 March 2024</div></div>'
    page += message("Anna", 1, "Is it open?") + message("", 2, "And tomorrow?")
    page += message("Shop", 3, "Yes.<br>Till ten: every day.") + "</div></body></html>"
    assert said(read(tmp_path, page, name="messages.html")) == [ASKED]


def test_whatsapp_of_a_chinese_phone(tmp_path: Path) -> None:
    """Left-out media, edits and calls were learned as words, of both systems' wordings."""
    log = """2025年3月1日 上午9:02 - Anna: Is it open?
2025年3月1日 上午9:03 - Anna: <省略媒体文件>
2025年3月1日 上午9:03 - Anna: <已略去媒體檔>
2025年3月1日 上午9:04 - Anna: And tomorrow?
2025年3月1日 上午9:05 - Shop: Yes.
Till ten: every day. <消息已编辑>
2025年3月1日 上午9:06 - Anna: 语音通话，未接来电
"""
    found = read(tmp_path, log, name="chat.txt")
    assert said(found) == [ASKED]
    assert found.changed["placeholders of images, voice and the like left out"] == 2


def test_slack_discord_and_instagram(tmp_path: Path) -> None:
    slack = [
        {"type": "message", "subtype": "channel_join", "user": "U1", "text": "<@U1> has joined", "ts": "1710320300.1"},
        {"type": "message", "user": "U1", "text": "Is it open?", "ts": "1710320400.1", "user_profile": {"real_name": "Anna"}},
        {"type": "message", "user": "U1", "text": "And tomorrow?", "ts": "1710320401.1", "user_profile": {"real_name": "Anna"}},
        {"type": "message", "user": "Shop", "text": "Yes.\nTill ten: every day.", "ts": "1710320402.1"},
    ]  # fmt: skip
    assert said(read(tmp_path, json.dumps(slack, indent=2), name="2024-03-13.json")) == [ASKED]
    discord = {
        "guild": {"name": "x"},
        "messages": [
            {
                "type": "Default",
                "timestamp": f"2024-03-13T09:0{i}:00.000+00:00",
                "content": text,
                "author": {"name": who},
            }
            for i, (who, _, _, text) in enumerate(MESSAGES[:3])
        ],
    }
    assert said(read(tmp_path, json.dumps(discord), name="d.json")) == [ASKED]
    newest_first = [
        {
            "sender_name": who,
            "timestamp_ms": 1710320400000 + i * 1000,
            "content": f"{text} 😀".encode().decode("latin-1"),
        }
        for i, (who, _, _, text) in enumerate(MESSAGES[:3])
    ][::-1]
    meta = {"participants": [{"name": "Anna"}, {"name": "Shop"}], "messages": newest_first}
    (dialogue,) = said(read(tmp_path, json.dumps(meta), name="m.json"))
    assert dialogue[1] == ("assistant", "Yes.\nTill ten: every day. 😀")


MARKDOWN = {
    "underlined headings": "FAQ\n===\n\nSome words.\n\nIs it open?\n-----------\n\nYes.\n\n- a\n- b\n\nWhere is it?\n---\n\nThere.\n",
    "tables": "# FAQ\n\nSome words.\n\n| No. | Question | Answer |\n|--|:-:|--:|\n| 1 | Is it open? | Yes.<br><br>- a<br>- b |\n| 2 | Where? | There. |\n",
    "headings": "# FAQ\n\nSome words.\n\n## Is it open?\n\nYes.\n\n- a\n- b\n\n## Where is it?\nThere.\n\n# Contact\n\nWrite us.\n",
    "headings, no marks": "## How to pay\nYes.\n\n- a\n- b\n\n## How to return\nThere.\n",
    "Chinese headings": "## 如何付款\nYes.\n\n- a\n- b\n\n## 退货怎么办？\nThere.\n",
    "Q and A": "Q: Is it open?\nA: Yes.\n\n- a\n- b\n\nQ: Where is it?\nA: There.\n",
    "bold Q and A": "**Q: Is it open?**\n**A:** Yes.\n\n- a\n- b\n\n**Q2:** Where is it?\n\nA2. There.\n\n---\n",
    "问答": "问：开门吗？\n答：Yes.\n\n- a\n- b\n\n问：在哪里？\n答：There.\n",
    "bold questions": "Intro\n\n**Is it open?**\n\nYes.\n\n- a\n- b\n\n**Where is it?**\nThere.\n",
    "details": "<details>\n<summary>Is it open?</summary>\n\nYes.\n\n- a\n- b\n</details>\n<details>\n<summary>Where?</summary>\nThere.\n</details>\n",
    "rules": "---\n\n## Is it open?\nYes.\n\n- a\n- b\n## Where is it?\nThere.\n\n---\n",
    "front matter": "---\ntitle: x\n---\n## Is it open?\nYes.\n\n- a\n- b\n\n## Where is it?\nThere.\n",
}


@pytest.mark.parametrize("name", MARKDOWN)
def test_markdown_questions_and_answers(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, MARKDOWN[name], "", "faq.md")
    assert [d[1] for d in said(found)] == [("assistant", "Yes.\n\n- a\n- b"), ("assistant", "There.")]
    assert found.kind == "demonstrations"
    if "Some words." in MARKDOWN[name]:
        assert found.changed["lines outside of questions and answers left out"] in (1, 2), "and 'Write us.'"
    if "Q" in name or "问" in name:
        assert said(read(tmp_path, MARKDOWN[name], "", "faq.txt")) == said(found)


def test_other_markdown_is_text(tmp_path: Path) -> None:
    text = "# Guide\n\nSome words.\n\n## Setup\n\n```sh\n# what?\n## how?\n```\n\n## Usage\n\nMore.\n"
    found = read(tmp_path, text, "", "guide.md")
    assert (found.kind, found.records) == ("texts", [text.rstrip("\n")])


def test_a_shop_named_once_is_all_its_accounts(tmp_path: Path) -> None:
    """Taobao's logs name staff SHOP:PERSON; with the shop in --speakers nobody was of its side."""
    log = "tb1 (2024-06-03 08:00:00):\n  发货了吗?\n旗舰店:小李 (2024-06-03 08:01:00):\n  今天发\n"
    log += "tb1 (2024-06-03 08:02:00):\n  用什么快递\n旗舰店:小王 (2024-06-03 08:03:00):\n  顺丰\n"
    expected = [("user", "发货了吗?"), ("assistant", "今天发"), ("user", "用什么快递"), ("assistant", "顺丰")]
    assert said(read(tmp_path, log, "tb1,旗舰店")) == [expected]
    assert said(read(tmp_path, log, "*,旗舰店:小李"))[0][:2] == expected[:2]
