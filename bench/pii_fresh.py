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
