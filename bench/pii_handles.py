"""Accounts of messengers, and titles of works that hold people's names, for `pii_written.py`.

`HANDLES` and `TITLES` are for development. `HANDLES_LATER` and `TITLES_LATER` were written with them, before anything
was mended, and looked at once after. A firm's own account, a group and a published channel are nobody's.
"""

HANDLES = {
    "zh": """
加我V: [account:abc123_xy]，细说
我微信号是[account:lihua-1988]，你们加一下
微信：[account:wxid_8f3k2m9qz1a21]
[account:wxid_x7t0pq4hh2k522] 这个号被封了怎么申诉
加QQ [account:1234567890] 发截图给你
我的QQ是[account:48213377]，绑定的手机换了
QQ号码：[account:3301972206]
扣扣[account:875521904]，在线等
vx [account:mmtt0923]，打不通电话就加这个
加个微信吧，[account:Zhao_Lei_77]
麻烦加我微信[account:sunny2020]私聊退款
QQ邮箱收不到邮件怎么办
QQ登录一直闪退，版本9.9.1
微信支付扣了129元但订单没成功
你们的微信公众号是哪个
我用微信号登录的，密码忘了
客服微信：xiaomi_kefu01，工作日9点到18点
官方QQ：800012345，其他都是假的
粉丝群QQ群 667788990 还能进吗
微信6.7.3版本打不开小程序
微信零钱提现要0.1%手续费吗
V2版本和V3版本哪个好
加10086的微信就能查话费吗
抖音号[account:dy_xiaomei99]，你们主播说可以退
我小红书号是[account:5022817734]，活动没到账
淘宝旺旺：[account:tb8827113_2012]
wx：[account:guo19950612]，手机同号[phone:13752210984]
我支付宝账号[account:lele_8866]，退到这里
请问你们支持QQ钱包吗
""",
    "en": """
my Telegram is [account:@anna_b92], text me there
Add me on Skype: [account:live:tom.reed_4]
WhatsApp me, or Line ID [account:kenji0404]
WeChat ID: [account:marco_in_sh], easier than email
my insta is [account:@jo.hiking], you can see the damage in my story
discord: [account:bluefox#4821]
Is there an Instagram filter for this?
Follow us on Instagram @acmestore for offers
Your support account on Twitter @AcmeHelp never answers
Does the app work with WeChat Pay 8.0?
I signed in with my Facebook account and lost everything
Snapchat [account:maddie.k07] is how my daughter logs in
My Twitter handle is [account:@rob_dunn], I posted the video there
Reply STOP to end
""",
    "de": """
Mein Telegram ist [account:@basti_k], da antworte ich schneller
Skype: [account:live:.cid.8f21ab90]
Ihr Instagram-Kanal @moebelhaus zeigt das Sofa noch
Schreibt mir auf Instagram, ich bin [account:@lena.backt]
WhatsApp funktioniert seit dem Update nicht
Discord-Name [account:falke#0911]
Folgt uns auf Twitter: @stadtwerke
""",
}
HANDLES_LATER = {
    "zh": """
微信号[account:yanyan_0315]，备注一下订单
加薇[account:dd66778899a]，给你发视频
V信：[account:kk-lin2019]
我QQ[account:610283355]，传文件用这个
加我qq：[account:2209817364]，备注退款
您好，QQ是[account:19283746]的那个账号被盗了
Q：[account:771029384]，别打电话
微信同名，搜[account:wangzai_milk]就行
[account:wxid_0p9o8i7u6y5t4r]加你了请通过
我的wechat: [account:ericz-cn]
绑定的是QQ[account:1029384756]，怎么解绑换微信
QQ音乐会员怎么退
QQ飞车点券没到账，区服是电信2区
扫码加企业微信，号是acme-shop01吗
客服QQ 4008123123 一直离线
你们微信号多少，我想加客服
微信读书年卡能送人吗
vivo X100和v30怎么选
wxid开头的是什么意思
快手号[account:ks_dage888]申请带货
微博@[account:小鹿乱撞xx]就是我，私信你们了
闲鱼上[account:tb_73920018]就是我的号
微信转账单号[order:1000050001202406150920384756]，没收到钱
QQ群：102938475 里有人冒充你们客服
""",
    "en": """
You can reach me on Signal or Telegram, I'm [account:@mikey_o]
Line: [account:hana.s_22]
my skype id is [account:peter.novak81]
WeChat: [account:wxid_k2j3h4g5f6d7s8]
My IG [account:@tess_paints] shows the broken frame
tagged @united three times on twitter and nothing
Discord login shows error 4014
Can you DM me, I'm [account:@carlosv_] on Instagram
QQ: [account:3098812456] if you are the China team
Find our channel at t.me/acmedeals
Is Skype for Business 2016 supported?
""",
    "de": """
Meine WeChat-ID: [account:heike_sh]
Bin auf Insta als [account:@ollis_werkstatt] unterwegs
Erreichbar über Telegram: [account:@mara_w]
Euer Twitter-Team @bahnhilfe hat nicht geholfen
Skype-Name ist [account:jochen.f55]
Instagram zeigt Ihren Shop nicht mehr an
""",
}
TITLES = {
    "zh": """
《李焕英》什么时候下架
想退《张三丰传奇》的套装
《你好，李焕英》电影票能改签吗
买的《王小波全集》少了第三册
《周恩来传》精装版还有吗
《陈情令》的周边什么时候补货
《赵丽华诗集》和《林徽因传》一起寄，收件人[name:赵丽华]
我要《朱元璋》电视剧的蓝光
书名是《安娜·卡列尼娜》，别发错
《何以笙箫默》签名版，写给[name:何明月]可以吗
作者[name:周文海]的《周文海自述》给我留一本
《白鹿原》《沈从文散文》各两本
""",
    "en": """
When does "Jerry Maguire" leave the catalogue?
I ordered "The Talented Mr. Ripley" on Blu-ray, got "Mr. Bean" instead
The book "Emma Brown" by Charlotte Cory is out of print?
Do you have the film "Michael Clayton" in 4K
my copy of “Steve Jobs” by Walter Isaacson has pages missing
"John Wick" and "Annie Hall" both say unavailable
Please engrave it with "[name:Sarah Miller]", no comma
the name on the parcel says "[name:Peter Hughes]", that is my flatmate
two tickets for 'Harry Potter and the Cursed Child' please
The audiobook 'Angela Merkel' skips in chapter 3
""",
    "de": """
Läuft „Anna Karenina“ noch in der Mediathek?
Das Buch „Michael Kohlhaas“ kam beschädigt an
Der Film „Toni Erdmann“ lässt sich nicht abspielen
Auf dem Etikett steht „[name:Thomas Berger]“, das bin nicht ich
Haben Sie den Roman „Effi Briest“ als Hörbuch?
Bitte „[name:Julia Hartmann]“ eingravieren
""",
}
TITLES_LATER = {
    "zh": """
《霍元甲》和《叶问》能看原声吗
请问《杨家将演义》有插图本吗
我收到的是《吴承恩传》不是《西游记》
《郭德纲相声集》CD有划痕，[name:郭秀英]签收的
预售的《孙燕姿精选》什么时候发
《马可·波罗游记》插图版
听书里《曹德旺自传》播放到一半停了
《钱学森》纪录片版权问题下架了吗
给孩子[name:孙浩然]买的《徐霞客游记》少页
课程《王芳讲历史》退款
""",
    "en": """
Is "Erin Brockovich" included in the basic plan?
Subtitles for "Donnie Brasco" are out of sync
I want a refund for the novel "David Copperfield"
"Thelma & Louise" stopped at minute 12
the label reads "[name:Karen Douglas]" but my name is [name:Karen Doyle]
Can it be printed as "[name:Emily Watson]" on the mug?
Season 2 of "Jessica Jones" is missing
the biography 'Nelson Mandela' arrived torn
""",
    "de": """
Die Serie „Julia Keller ermittelt“ ruckelt
Wann kommt der Film „Hans Zimmer Live“ zurück?
Hörbuch „Felix Krull“ bricht ab
Die Karte soll „[name:Sophie Lindner]“ sagen
Das Album „Peter Fox“ fehlt in meiner Bibliothek
""",
}
