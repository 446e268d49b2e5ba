"""Messages of a look at firms that no list has, thirty a language, written after the rules of decision 111 and looked at once."""

FRESH = {
    "zh": """
你好，我是百丽达公司的采购，发票抬头改一下
胡姬花生油开盖后能放多久
麻烦查下[name:胡晓峰]的退款，他说还没到账
我在良品小铺点的外卖少了一份米饭
董酿坊的白酒和你们是一家的吗
请问方小童童鞋偏码吗
收件人写[name:方小童]就行
乔家栅粽子冷冻还是常温
我是顺康达客服，您的工单已处理
孟婆婆酸梅汤还做活动吗
我朋友[name:孟繁星]也想办卡
范思淇连衣裙洗了缩水
昨天在许留山点的芒果冰没送
许愿池奶茶怎么加盟
袁记云饺太咸了
电话里[name:袁丽华]说可以补发
傅山茶业的普洱保真吗
跟[name:傅强]约好周五上门
裴氏丹麦牙签哪里买
冯小厨锅具掉漆，要求换货
退货寄给[name:冯志刚]吗
穆兰小姐眼镜框断了
汪玉霞月饼什么时候上架
[name:汪玉霞]是我妈，她不会用手机
姚生记瓜子有股哈喇味
卫龙辣条多少一箱
温莎堡咖啡豆磨粉吗
童年时光钙片孕妇能吃吗
叶罗丽娃娃缺了一只鞋
单子是[name:叶文静]下的，我替她问
""",
    "en": """
Hello, I represent Barton Hayes LLC and need a quote.
The Felix Moore blender I received is scratched.
[name:Felix Moore] placed this order, not me.
Where can I find Amelia Rhodes near Bristol?
I paid Stuart Penn twice for the same sofa.
Can I use my Stuart Penn points here?
Please forward this to [name:Amelia Rhodes] in returns.
I got these boots from Duncan Shaw last winter.
Duncan Shaw are out of stock everywhere.
My sister [name:Laura Shaw] will pick it up.
Is the Vera Holt serum safe during pregnancy?
I was charged by Nathan Cross Ltd but never signed up.
The courier from Graham Bell left no card.
Are the Iris Lane curtains machine washable?
I spoke to [name:Graham Bell] at the desk.
Half of the Toby Jones puzzle is missing.
Do you match the price of Martha Dean?
My name is [name:Martha Dean] and I moved house.
Eric Stone has a better return policy than you.
I ordered two duvets at Helen Frost.
The receipt says Helen Frost, 14 March.
Ask [name:Helen] whether she kept the box.
I love the new Kate Wells range.
Our showroom sells Kate Wells and Philip Ray.
[name:Philip Ray] is the executor of the estate.
My Ruby Clarke handbag strap snapped.
The zip on my Bruce Hart tent is broken.
Kindly update the delivery name to [name:Bruce Hart].
Sam Porter wants forty euros for shipping, is that normal for a shop?
I need a replacement lid for the Dora Finn teapot.
""",
    "de": """
Guten Tag, ich vertrete die Wagner Lohse AG und hätte gern ein Angebot.
Der Mixer von Klara Voss ist zerkratzt angekommen.
[name:Klara Voss] hat die Bestellung aufgegeben.
Wo gibt es Bruno Heller in der Nähe von Köln?
Ich habe Stefan Holm zweimal für dasselbe Sofa bezahlt.
Kann ich meine Punkte von Stefan Holm hier einlösen?
Leiten Sie das bitte an [name:Anke Petersen] weiter.
Die Stiefel habe ich letzten Winter bei Georg Nagel gekauft.
Georg Nagel ist überall ausverkauft.
Meine Schwester [name:Laura Nagel] holt es ab.
Ist das Serum von Vera Holt in der Schwangerschaft unbedenklich?
Mir wurde von der Jonas Kreuz GmbH etwas abgebucht.
Der Fahrer von Dieter Blank hat keine Karte hinterlassen.
Sind die Vorhänge von Iris Lahn waschbar?
Ich habe mit [name:Dieter Blank] am Schalter gesprochen.
Vom Puzzle Tobias Jahn fehlt die Hälfte.
Zieht ihr beim Preis mit Martha Diehl gleich?
Mein Name ist [name:Martha Diehl], ich bin umgezogen.
Erik Stein hat ein besseres Rückgaberecht als Sie.
Zwei Decken habe ich bei Helene Frost bestellt.
Auf dem Bon steht Helene Frost, 14. März.
Fragen Sie [name:Helene], ob sie den Karton noch hat.
Die neue Kollektion von Katja Wolf gefällt mir.
Führen Sie Katja Wolf und Philipp Rau?
[name:Philipp Rau] ist der Testamentsvollstrecker.
Der Riemen meiner Handtasche von Ruby Klar ist gerissen.
Sehr geehrte Damen und Herren, der Reißverschluss am Zelt von Bruno Hart klemmt.
Bitte ändern Sie den Lieferempfänger auf [name:Bruno Hart].
Samuel Pohl verlangt vierzig Euro Versand, ist das üblich für einen Shop?
Ich brauche einen Ersatzdeckel für die Teekanne von Dora Finn.
""",
}

OWNERS = {
    "zh": """
[name:彭元凯]的单子怎么还没派送
我是找[name:孙丽]买的，她说有赠品
[name:曹小兵]的快递放哪了
麻烦查下[name:潘长林]的退款到哪一步了
这台是跟[name:马红霞]订的，型号不对
单子是[name:吕大鹏]下的，能改地址吗
上次找[name:谭国强]修的，又坏了
帮我看看[name:郝新民]的订单发没发
发票开[name:钟玉萍]的名字
[name:邹小燕]说你们答应补差价
找[name:薛丽娟]拿的样品颜色不一样
[name:廖志远]的账号登不上去
[name:宋小军]的包裹被退回了
我问[name:秦晓梅]买的二手，能过户吗
寄给[name:崔元庆]就行，不用改
[name:陆小芳]的会员卡丢了怎么补
叫[name:范大勇]来取件，我不在家
[name:贺长安]的电话打不通
让[name:龚丽]换个大号的
跟[name:邵建新]谈好的价格怎么变了
[name:傅小宝]的快件签收了吗
我和[name:段海燕]一起买的，想分开发货
[name:侯元良]的保单什么时候生效
是[name:姚小慧]卖给我的，她认得
请转告[name:戴长春]，货到了
[name:汪新宇]的发票寄错地方了
找[name:田芳]办的卡，余额不对
[name:苏小蕾]的押金退了吗
替[name:严大军]问下什么时候上门
[name:毛元生]的预约改到周六可以吗
郑州的快递为什么停了
戴森的发票什么时候开
苏泊尔的退款到账了吗
沈阳的包裹到哪了
陈列的货能卖吗
贺卡的订单能加急吗
找客服买的延保怎么用
韩版的单子能换成欧版吗
徐家汇的门店今天开门吗
周大生的金条可以回收吗
叶酸的订单取消一下
雷蛇的账号怎么绑定
马鞍山的快递几天到
高露洁的赠品没收到
唐山的快件丢了
吴江的仓库发货吗
从萧山寄的，怎么走广州
杨梅买一送一还有吗
潘婷的订单少发一瓶
余杭的包裹显示已签收
找店家换的新壳又裂了
黄豆的保质期多久
白酒的单子不能退吗
跟官方买的怎么没有保修
韩束的快递换个地址
梅州的运费怎么算
宋元的瓷器是真的吗
梁小龙虾的外卖洒了
林内的热水器漏水
徐州的订单能当日达吗
""",
}
"""Whose a parcel is and who did something, thirty; thirty alike with places, brands and words. Written before the rules for them, looked at once."""

PLACES = {
    "zh": """
[name:温玉兰]的快递改个地址
查下[name:许建民]的订单
[name:张家豪]的包裹签收了吗
[name:黄志宏]的账号被锁了
帮看[name:安晓敏]的退款到哪一步
[name:林芝华]的预约取消
[name:徐晓峰]的货到了吗
[name:余海燕]的发票抬头错了
[name:周国平]的地址填错了
[name:吴忠义]的会员到期没
[name:金秀英]的押金退没退
[name:韩雪梅]的电话换了
[name:萧子轩]的件丢了
[name:夏小雨]的保单要改受益人
[name:罗文斌]的快件在哪
[name:苏婉清]的订单重复了
[name:雷建军]的账户冻结了
[name:高丽华]的单子漏了一行
[name:钟丽萍]的手机号变了
[name:江志远]的货退了
[name:马超]的订单怎么没了
[name:郑洁]的退款没到
[name:唐静]的快递放门口
[name:潘婷婷]的订单少一件
[name:戴森林]的发票重开
[name:宋佳]的账号登不上
[name:马腾飞]的预约改周五
[name:曹阳]的地址不对
[name:邹城宇]的快递没人收
[name:叶青]的保修卡丢了
许昌的快递停发了吗
张家港的订单几天到
黄石的门店周日开吗
林芝的快件超时了
高邮的咸鸭蛋发货了没
周口的地址能改吗
吴忠的退货寄哪里
章丘的铁锅生锈了
韩城的花椒有货吗
任丘的自提点在哪
钟祥的包裹被退回
邹城的货还没发
孟津的梨坏了一半
雷州的快递收费吗
汤阴的仓库搬走了
彭州的订单能加急吗
吕梁的件卡住了
邵武的货车几点到
夏普的发票怎么补
罗技的鼠标连不上
史密斯的安装预约改一下
钟薛高的快递化了
江小白的会员怎么积分
安踏的账号登不上
马自达的押金何时退
汤臣倍健的订单少一瓶
罗莱的地址填错了
康师傅的礼盒缺一桶
谭木匠的售后电话打不通
韩后的赠品没给
""",
}
"""Thirty of people before 的, and thirty of towns and brands there. Written before the rules for towns, measured once after them."""
BRANDS = {
    "zh": """
元气森林的气泡水还有货吗
江小白的瓶子碎了一个
樊文花的面膜能退吗
[name:樊文华]的快递放门口就行
马应龙的药膏过期了
[name:马应辉]的订单请合并
安井的丸子化冻了
林内的热水器怎么报修
[name:林内秀]的热水器怎么报修
万家乐的燃气灶打不着火
戴森的吸头坏了
高露洁的牙膏漏了
[name:高露]的退款到了没
左丹奴的T恤缩水
白象的泡面少一包
[name:白小象]的地址填错了
韩束的水乳过敏
[name:韩舒]的电话打不通
徐福记的糖不新鲜
周黑鸭的鸭脖太咸
[name:周海娅]的包裹签收了吗
毛戈平的粉底液色号怎么选
于小菓的月饼盒压坏了
[name:于晓果]的发票抬头要改
霍尼韦尔的净化器滤芯多少钱
卡姿兰的口红断了
温碧泉的套装少了小样
[name:温碧霞]的积分怎么没了
钟薛高的雪糕化了
柳桂坊的被子掉毛
[name:柳桂芳]的快递单号发我一下
丁家宜的防晒霜过期了吗
[name:丁家仪]的会员卡丢了
康巴赫的锅粘底
詹记的桃酥碎了
[name:詹纪然]的押金什么时候退
宋河的酒瓶漏了
[name:宋何清]的身份证照片传不上去
田七的牙膏味道变了
[name:田琪]的手机号换了
""",
}
"""People and brands before 的, most of which no list has."""
SAINTS = {
    "en": """
We moved to San Bruno last year.
Ship it to San Marcos, Texas please.
My parcel is stuck in Santa Clara.
Is there a shop near St. Louis?
I flew into Fort Collins yesterday.
The store in Port Arthur is closed.
She lives in Saint Albans now.
A hotel at Lake Charles would be fine.
Mount Vernon is too far for pickup.
Do you deliver to Cape Elizabeth?
The branch on San Pedro Street was closed.
Trains to Los Alamos are full.
This is [name:Ramon Ortiz], order still missing.
Please call [name:Clara Whitman] back.
[name:Bruno Keller] never got the refund.
My name is [name:Elizabeth Warren], I live in Fort Wayne.
Best regards, [name:Charles Pope]
I spoke with [name:Marcos Diaz] from billing.
Can you change it to [name:Louis Armand]?
[name:Rosa Delgado] in Santa Rosa signed for it.
The courier said [name:Vernon Hughes] took it.
Ask [name:Arthur Quinn] about the invoice.
""",
}
"""Towns whose names begin with San, Fort and the like and go on with a first name, beside people."""
