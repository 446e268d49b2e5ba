"""Firms that no list has, by the words around them; people in the same places; greetings of nobody in particular."""

from __future__ import annotations

import pytest

from steersman.data import pii
from steersman.data.pii import masking


def names(text: str) -> list[str]:
    return [text[s.start : s.end] for s in pii.find(text) if s.kind == "name"]


@pytest.mark.parametrize(
    "text",
    [
        "Ich habe bei Krüger Lenz eine Lampe bestellt und nichts bekommen.",
        "Die Jacke von Anna Lindt ist zu klein.",
        "Ich arbeite bei Heinrich Bauer KG, unser Zugang ist gesperrt.",
        "Mit freundlichen Grüßen\nMuster Haushaltswaren GmbH",
        "Liefert Franz Kessler auch nach Österreich?",
        "I bought the lamp at Carter Lowe last week.",
        "I got an email from Miller Stone Insurance about my claim.",
        "Does Walter Finch deliver to Ireland?",
        "Can I pay with my Ryan Air voucher?",
        "您好，我是韩都盛源公司的，想问下上批货的发票",
        "林清轩的面霜过敏能退吗",
        "我投诉杨国福麻辣烫，外卖洒了",
        "康师傅冰红茶整箱有货吗",
        "徐州的快递为什么停了",
        "是徐州买的，怎么从广州发",
        "沈阳的包裹到哪了",
        "唐山的快件丢了",
        "邵武的货车几点到",
        "许愿池的订单能取消吗",
        "明天的预约取消",
        "亲这个也帮我改成江西的地址么",
        "单车的押金没退",
        "Our Felix Moore kettle leaks.",
        "Mein Toaster von Karl Lindner wird nicht heiß.",
    ],
)
def test_a_firm_is_known_by_the_words_around_it(text: str) -> None:
    assert names(text) == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Das Paket wurde bei Peter Hahn abgegeben, unserem Nachbarn.", "Peter Hahn"),
        ("Der Anruf von Julius Weber kam gestern.", "Julius Weber"),
        ("I bought this as a gift for Emma Collins.", "Emma Collins"),
        ("Is Walter Finch still working there?", "Walter Finch"),
        ("我是王海燕，公司地址要改一下", "王海燕"),
        ("李明的快递放门口了", "李明"),
        ("董鹏鹏直接持有公司2,283万股股份", "董鹏鹏"),
        ("请联系赵磊，电话打不通", "赵磊"),
        ("郭元潮的单子怎么还没发", "郭元潮"),
        ("帮我看看王小明的快递到哪了", "王小明"),
        ("我是找孙丽买的，她说有赠品", "孙丽"),
        ("这台跟李元芳订的，型号不对", "李元芳"),
        ("My Felix Moore told me to call you", "Felix Moore"),
        ("我同事沈阳的快递放门口了", "沈阳"),
        ("找唐山拿的货", "唐山"),
        ("王芳的礼盒少了一份", "王芳"),
        ("田野的学号报错了", "田野"),
        ("帮我改童心怡的收货地址", "童心怡"),
        ("易小川的工资卡换了", "易小川"),
        ("石磊的账号被冻结", "石磊"),
    ],
)
def test_people_in_such_places_are_masked(text: str, name: str) -> None:
    assert names(text) == [name]


@pytest.mark.parametrize(
    "text",
    [
        "Sehr geehrte Damen und Herren, ich habe ein Problem.",
        "Sehr geehrtes Serviceteam,",
        "Hallo Kundenservice, wo bleibt es?",
        "Mit freundlichen Grüßen\nKundenservice",
        "Liebe Kollegen, ich",
        "Dear Sirs, I",
        "Dear Valued Customer,",
        "Hello Everyone, my",
    ],
)
def test_a_greeting_of_nobody_in_particular_is_kept(text: str) -> None:
    assert names(text) == []
    assert names("Sehr geehrter Herr Krause, ich") == ["Krause"]


@pytest.mark.parametrize(
    ("text", "account"),
    [
        ("加我V: abc123_xy，细说", "abc123_xy"),
        ("微信号：lihua-1988", "lihua-1988"),
        ("wxid_8f3k2m9qz1a21这个号", "wxid_8f3k2m9qz1a21"),
        ("加QQ 1234567890 发截图", "1234567890"),
        ("麻烦加我微信sunny2020私聊退款", "sunny2020"),
        ("抖音号：小鱼儿（微信同名）", "小鱼儿"),
        ("旺旺abc123，微信一样", "abc123"),
        ("小红书号是5022817734", "5022817734"),
        ("my insta is @jo.hiking, look", "@jo.hiking"),
        ("WhatsApp me, or Line ID kenji0404", "kenji0404"),
        ("Schreibt mir auf Instagram, ich bin @lena.backt", "@lena.backt"),
        ("discord: bluefox#4821", "bluefox#4821"),
    ],
)
def test_accounts_of_messengers_are_masked(text: str, account: str) -> None:
    assert [text[s.start : s.end] for s in pii.find(text) if s.kind == "account"] == [account]


@pytest.mark.parametrize(
    "text",
    [
        "官方QQ：800012345，其他都是假的",
        "粉丝群QQ群 667788990",
        "微信6.7.3版本打不开，V2版本呢",
        "QQ登录闪退，版本9.9.1",
        "Follow us on Instagram @acmestore",
        "Run install-nano.sh, see instagram.com/p/2uQN2",
        "《李焕英》和《周恩来传》还有吗",
        "Subtitles for “Donnie Brasco” are out of sync",
        "Haben Sie den Roman „Effi Briest“ als Hörbuch?",
    ],
)
def test_accounts_of_firms_and_titles_of_works_are_kept(text: str) -> None:
    assert pii.find(text) == []


def test_who_has_the_name_of_a_work_is_masked_outside_it() -> None:
    text = "《赵丽华诗集》寄给收件人赵丽华，刻“Sarah Miller”"
    (found,) = masking.find_in_turns([text])
    assert [(s.start, text[s.start : s.end]) for s in found] == [(12, "赵丽华"), (18, "Sarah Miller")]
