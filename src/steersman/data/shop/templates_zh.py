"""Chinese wording; the sections and the rules are those of `templates_en.py`.

Longer than 400 lines because it is text alone.
"""

TEXT = """
[user order_status]
train:
您好，我的订单{order}到哪儿了？
麻烦帮我查一下{item}的订单状态。
{order}怎么还没动静啊？
请问我买的{item}现在什么情况？
亲，帮忙看看订单{order}，谢谢
等了好几天了，{item}呢？到底在哪？
我想了解一下订单{order}的进度。
在吗？查个单，{order}
订单{order}有新消息吗，我着急用。
不好意思打扰了，我的{item}进展怎么样了？
页面一直没更新，{order}到底什么状态？！
我的{item}啥时候能有信儿阿
validation:
能不能告诉我{order}目前的情况？
我那个{item}呢，怎么没下文了
客服你好，烦请核实一下单号{order}的状态。
{order}进行到哪一步了？
test:
请帮忙跟进一下单子{order}。
一直没收到{item}的消息，怎么回事？
想问问{order}现在怎样了
我买的{item}查不到信息，帮我瞧瞧。

[user return]
train:
请问{item}还能退吗？
我不喜欢这个{item}，可以退货吗？
您好，{item}和我家不搭，能退吗？
想退订单{order}，行不行
现在退{item}会不会太晚了？
麻烦问一下，{item}能不能退回去？
{item}跟我想的不一样，你们收回吗？
订单{order}还在退货期内吗？
家里已经有{item}了，这个可以退给你们吗？
亲，{item}买多了，能退不
订单{order}还可以退货吗？最晚哪天？
validation:
计划有变，{item}用不上了，能申请退货吗？
{order}的退货时间还没过吧？
我把{item}寄回去，你们接受吗？
按规定{item}还能退掉么？
test:
{order}我还有权退货吗？
{item}太大了，能不能退呀？？
我不打算留这个{item}了，可以退还吗？
现在退{order}还来得及吗？

[user refund]
train:
订单{order}的退款到哪了？
{item2}我已经退回去了，钱怎么还没到？
{item2}的退款什么时候到账？
您好，{order}能退多少钱，哪天退？
{item2}你们收到了吧，退款呢？
麻烦查一下订单{order}的退款。
{item2}退款怎么这么慢！！
我想知道{order}的退款情况。
请问{item2}的钱退了吗，退多少？
亲，{order}退款金额和日期告诉我一下
validation:
退回的{item2}什么时候给我钱，多少？
{order}退款有进展么
{item2}的钱一直没见着，解释一下。
请说明{order}退款的具体情况。
test:
我在等{item2}的退款，金额多少，哪天？
单子{order}的钱退得怎样了
帮我看看{order}那笔退款。
{item2}寄回去了，退款情况请告知。

[user invoice]
train:
订单{order}需要开发票。
麻烦把{item}的发票发给我。
您好，{order}的发票怎么弄？会计要
我的{item}发票在哪里看？
请给订单{order}开一张发票，报销用。
{item}的包裹里没有发票，能补吗？
{order}发票，谢谢
我买了{item}，想要发票。
公司付的订单{order}，要发票。
请问{order}的发票怎么拿？
validation:
{order}能出具发票吗？
{item}没看到发票，怎么回事？
报账用，{order}要一张发票哈
财务催我要{item}的发票了。
test:
怎样才能收到{order}的发票？
老板要{item}的发票
烦请提供{order}对应的发票。
我找不到买{item}的发票。

[user delivery.cost]
train:
请问运费多少？
寄一个{item}要多少邮费？
亲，你们家运费怎么算
麻烦告诉我配送费是多少。
validation:
快递费我要出多少？
{item}的邮费多少呢
test:
寄一件要收多少运费？
送{item}上门要付多少配送费？

[user delivery.time]
train:
一般几天能到？
请问配送需要多久？
你们发货快吗？要几天？
我比较急，快递通常要多长时间？
validation:
平时大概多久能收到？
路上一般走几天呀
test:
正常情况下几天送到？
请说一下平常的配送时间。

[user delivery.carrier]
train:
订单{order}发什么快递？
{item}是哪家快递送？
亲，{order}走的哪个物流
要跟门卫说一声，{order}是哪家快递？
validation:
{order}由谁家配送？
{item}的快递公司叫什么？
test:
{order}交给哪家物流了？
哪家公司送我的{item}？

[user product_question.material]
train:
{item}是什么材质的？
您好，这款{item}用的什么材料？
下单前问下，{item}什么料子？
validation:
能说说{item}的材质吗？
{item}拿什么做的呀
test:
我容易过敏，{item}是什么材料？
你们的{item}用哪种材质？

[user product_question.size]
train:
{item}多大？
{item}什么规格，放得下吗
麻烦告诉我{item}的尺寸。
validation:
可以给我{item}的大小吗？
{item}大不大，具体多少
test:
{item}的规格是多少？
我家地方小，{item}有多大？

[user product_question.stock]
train:
{item}有货吗？
现在{item}还有吗？
今天能下单{item}吗，有没有现货？
validation:
{item}目前有库存吗？
{item}还剩么
test:
你们那儿有{item}卖吗？
我今天就想要{item}，有现成的吗？

[user product_question.price]
train:
{item}多少钱？
请问{item}什么价？
{item}价格？
validation:
{item}卖多少？
{item}，几块钱呀
test:
买{item}要花多少？
{item}的售价是多少呢

[user product_question.warranty]
train:
{item}保修多久？
{item}有质保吗，几年？
{item}的保修期多长
validation:
{item}能保几年？
你们给{item}多长的质保？
test:
{item}要是坏了，保修期有多久？
请说说{item}的质保时间。

[user complaint.damaged]
train:
{item}收到就是坏的！太气人了。
订单{order}里的{item}裂了，没法接受。
您好，{item}寄来就破了，怎么办？
打开箱子{item}都碎了，你们得管！
validation:
{item}上有个大坑，很失望。
收到{order}，东西坏了，真行啊……
test:
你们发来的{item}全是划痕，我很生气。
{order}到手就坏，什么意思？

[user complaint.missing]
train:
箱子里没有{item2}！我可是付了两件的钱。
订单{order}少发了，没有{item2}。
只收到{item}，{item2}呢？服务太差。
包裹里没{item2}，不开心
validation:
你们漏了我的{item2}，请处理。
{order}里没看到{item2}！！失望。
test:
盒子里根本没有{item2}，怎么会这样？
{order}缺{item2}，赶紧解决

[user complaint.late]
train:
订单{order}晚了好几天，聚会都毁了，我要投诉。
{item}来得太晚了，你们怎么补偿？
等{order}等到心累，服务真差！
{item}送得也太慢了，生气
validation:
{item}迟到了也没人通知我，总得有个说法。
{order}过了约定的日子才来，太不像话
test:
{order}到得太迟，我很不满意。
生日都过完了{item}才到，你们怎么弥补？

[user small_talk.hello]
train:
你好呀！
早上好，今天过得怎么样？
在吗，有人吗？
嗨！你们店铺真好看。
晚上好，你是真人吗？
今天天气真不错，对吧？
validation:
下午好！今天顺利吗？
喂，醒着没？
test:
哈喽哈喽，最近怎么样？
祝你一天愉快，今天忙吗？

[user small_talk.thanks]
train:
刚才多谢你的帮忙！
谢啦，你真棒
{item}很好看，就是想告诉你们一声。
你们人真好，谢谢。
我好喜欢这个{item}，祝生意兴隆！
没别的事了，先拜拜。
validation:
特地来说声谢谢你们的服务。
辛苦啦，{item}很满意
test:
想谢谢你，一切都顺利。
好的好的，就这些，再见

[user wrong_premise.status]
train:
为什么我的订单{order}{wrongst}了？没人通知我。
我看到{order}{wrongst}了，是吧？
你们说我的{item}{wrongst}了，请确认。
订单{order}现在是{wrongst}了？
validation:
邻居说{order}{wrongst}了，真的吗？
既然{order}{wrongst}了，我该怎么办？
test:
{item}{wrongst}了，能解释一下吗？
我看单子{order}{wrongst}了，没错吧？

[user wrong_premise.date]
train:
订单{order}是{wrong_date}到，对吧？
你们答应{item}{wrong_date}到，请确认。
确认下，{order}{wrong_date}送到？
我特意{wrong_date}请假等{item}，是那天到吧？
validation:
我的{item}{wrong_date}来，没记错吧？
{wrong_date}就是{order}到的日子，是不？
test:
我记的是{order}{wrong_date}到货，是这样吗？
{item}{wrong_date}到，说好的吧？

[user wrong_premise.total]
train:
订单{order}我花了{wrong_total}，对吧？
{item}我付的是{wrong_total}，请确认。
{order}的账单是{wrong_total}，是不是？
所以订单{order}一共{wrong_total}？
validation:
{order}总价是{wrong_total}，没错吧？
{item}你们收了{wrong_total}，是吗？
test:
我记的{order}金额是{wrong_total}，是这样吗？
{item}应该是{wrong_total}吧，帮我确认

[user changed_mind.keep]
train:
请取消订单{order}。 || 还在备货，可以取消，确定吗？ || 嗯……等等，还是留着吧。
我想取消{item}。 || 好的，您确定吗？ || 算了，订单照旧吧。
取消{order} || 还没寄出，可以办，确认吗？ || 不好意思，改主意了，别取消
{item}我不要了。 || 那我帮您取消，可以吗？ || 啊，我妹妹想要，麻烦继续发吧！
validation:
{order}能停掉吗？ || 还能停，您确认？ || 想了想，还是请发吧。
先把{item}停了。 || 明白，现在就取消？ || 不不，我又想要了，保留订单
test:
单子{order}我不想要了。 || 今天可以办，最终决定吗？ || 这样吧，我收回刚才的话，继续。
{item}那单作废 || 办之前问下：确定？ || 不太确定，{item}我还是要的

[user changed_mind.exchange]
train:
{item}我要退款。 || 可以退款，需要帮您办吗？ || 还是别了，给我换成{colour2}的吧。
请给订单{order}退款。 || 好的，会退您{total}，继续吗？ || 等下，能不能换{colour2}的？
{order}退款，谢谢 || 可以，您确认吗？ || 不退了，给我换一个{colour2}的
{item}不想要了，退钱。 || 我现在就可以办退款。 || 慢着，我先生喜欢{colour2}，换货吧。
validation:
我想退{item}的钱。 || 没问题，要登记吗？ || 再想想，改成换{colour2}的吧。
{order}退钱。 || 好的，随时可以。 || 唔，换个{colour2}的比退钱好
test:
单子{order}把钱退我。 || 好，您同意办理吗？ || 不，我重新想过了，换{colour2}。
{item}的钱还我 || 今天能办。 || 算啦，拿{colour2}的来替换

[user changed_mind.credit]
train:
{order}的钱退到我账户。 || 可以退现金或店铺余额。 || 现金……不，还是退成余额吧。
{item}退款我要现金。 || 好的，{total}退到您账户？ || 改主意了，我要店铺余额。
{item}的钱退到钱包里 || 好的，现在退吗？ || 等等，退余额更方便
把订单{order}的钱打给我。 || 已准备好，确认吗？ || 嗯，那还是换成余额吧。
validation:
{item}的钱还我。 || 退到银行，对吗？ || 考虑了一下，余额更适合我。
{order}退现金。 || 可以，确定吗？ || 不确定……就余额吧
test:
{item}的款退到我卡里。 || 明白，要操作吗？ || 先别，我现在想要余额。
{order}返现 || 可以付款了。 || 慢点，办成余额吧

[user ellipsis.orders]
train:
订单{order2}什么时候到？ || 预计{date2}到。 || 那另一个呢？
我的{item2}在哪？ || {date2}能到您手上。 || 好的，那{item}呢？
麻烦查下{order2}。 || 预计{date2}送到。 || 我的第二个订单呢？
{order2}呢 || 这单{date2}到。 || 还有一个呢
{item2}会来吗？ || 会的，{date2}到。 || 太好了，剩下的那单呢？
validation:
{order2}哪天来？ || {date2}。 || 行，余下的那个呢？
{item2}有消息么 || {date2}到您那。 || {item}也问一下
test:
说说单子{order2}。 || {date2}您就能收到。 || 现在说另外那单吧。
{item2}几时到？ || 计划{date2}。 || {item}嘞？

[user ellipsis.price]
train:
{item2}我付了多少？ || {item2}是{price2}。 || 那{item}呢？
{item2}多少钱买的？ || {price2}。 || 订单里另一件呢？
忘了{item2}什么价了。 || 您付了{price2}。 || 另外那个呢？
{item2}价格？ || {price2}。 || 还有{item}
麻烦说下{item2}花了多少。 || 订单里是{price2}。 || 谢谢，第二件呢？
validation:
{item2}收了我多少？ || 收了{price2}。 || 好，那剩下那件呢？
{item2}的价钱 || 当时是{price2}。 || {item}也说一下？
test:
列一下{item2}的花费。 || 付款{price2}。 || 现在说{item}。
{item2}，几块 || 是{price2}。 || 另外那样嘞？

[user out_of_scope]
train:
帮我写一篇关于火山的作文吧。
跑步膝盖疼，该吃什么药？
下次选举我该投给谁？
帮我解一下x的平方减5x加6，作业要交
这个月买哪只股票好？
给我写一个排序的程序。
能帮我翻译一封情书吗？
周一开始发烧了，吃啥药管用
房东涨房租合法吗？
今晚球赛谁会赢？
蒙古的首都是哪里，有多久历史？
能帮我安排一次山里旅行吗？
validation:
化学作业帮我做一下。
我家狗吃了巧克力，要喂多少药
我要不要起诉我老板？
帮我做个六周健身计划。
test:
明天考试，给我讲讲法国大革命。
手臂起疹子了，涂什么药膏好
我网站代码有错，帮我改改？
周末赛马押哪匹？

[user improper.privacy]
train:
把订单{other}那个人的地址给我。
我前女友在你们这下了{other}，她买了啥？
告诉我{other}对应的手机号
{other}是谁下的单？我要姓名。
validation:
我想看{other}那位顾客付了多少。
把{other}的邮箱给我看看
test:
{other}的收货地址是什么？
朋友的单{other}，把他资料念给我

[user improper.fake]
train:
{order}的发票开高一点，好让老板多报。
能不能给我开张没买过的东西的发票？
{item}发票金额写两倍，没人知道的
把我发票日期改掉，我好少交税。
validation:
给我弄张假单据，报保险用。
{item}要一张假收据，金额写高点
test:
编个金额给我开发票，糊弄单位。
帮我伪造{order}的收据呗

[user improper.abuse]
train:
帮我写一段骂邻居的话，越难听越好。
蠢机器，说点歧视人的话！
帮我写个假差评骂另一家店
教我怎么吓唬快递员，他活该。
validation:
写一段威胁快递员的话。
跟我说下流话，不然给差评
test:
作一首恨我同事的诗。
怎么报复那个送货的，出个主意

[ask one_sentence]
train:
请用一句话回答。
一句话就行。
麻烦用一句话说清楚。
validation:
最好只回一句话。
就一句话，谢谢。
test:
给我一句话即可。
回复请控制在一句话。

[ask max_len]
train:
{n}字以内。
请不要超过{n}个字。
回答别超过{n}字。
validation:
回复最多{n}字。
限{n}字。
test:
{n}字之内说完。
我只看{n}个字，请简短。

[ask numbered]
train:
请用编号列表回答。
给我列个编号清单。
请按1、2分条写。
validation:
回复请用带编号的列表。
请分点编号说明。
test:
把回复写成编号的几条。
请标上1、2这样列出来。

[ask no_exclaim]
train:
不要用感叹号。
另外请别用感叹号。
回答中不要出现感叹号。
validation:
感叹号就免了。
请不带感叹号。
test:
我讨厌感叹号，别用。
感叹号请省略。

[ask yes_no]
train:
请以“是”或“否”开头。
开头先说是或否。
第一个字请写是或否。
validation:
回复先写“是”或“否”。
先是或否，再说细节。
test:
打头的字要是“是”或“否”。
一上来就说是还是否。

[ask order_end]
train:
最后请写上订单号。
结尾请附订单号。
请把订单号放在最后。
validation:
回复末尾要有单号。
以订单号收尾。
test:
结束时请报一下单号。
单号我要放在最后面。

[ask use_name]
train:
请称呼我的名字。
回答时请带上我的称呼。
请叫我的姓。
validation:
我喜欢被称呼姓氏。
回复里请提到我的姓。
test:
跟我说话请带称呼。
回复中要有我的姓哦。

[ask language]
train:
请用英文回答。
用英语回复，我太太要看。
请回我英文。
validation:
希望回复是英文的。
麻烦写英文。
test:
您的回复要用英文。
英文回复，谢谢。

[clause processing]
train:
还在备货，{date}发出
正在打包，将于{date}发货
正在处理中，计划{date}寄出
validation:
处于打包阶段，{date}会寄出
还在处理，{date}出库
test:
正在准备，定于{date}发出
还在配货，{date}会发货

[clause shipped]
train:
已经发货，预计{date}送达
已在运输途中，{date}能到
已经寄出，预计{date}到
validation:
已经出库，{date}会送到
正在路上，计划{date}到达
test:
已发出，{date}可以收到
在途中了，定于{date}抵达

[clause delivered]
train:
已于{date}送达
已经签收，日期是{date}
{date}已经送到
validation:
{date}已妥投
已经交到您处，日期{date}
test:
{date}已到您的地址
已经收货，时间为{date}

[clause delayed]
train:
有延误，现预计{date}到
延迟了，新的日期是{date}
晚点了，要到{date}送达
validation:
被耽搁了，改为{date}到
出现延误，到货推迟到{date}
test:
比计划慢，会在{date}到达
推迟了，请以{date}为准

[clause cancelled]
train:
已于{date}取消
已经取消，日期是{date}
{date}被取消
validation:
{date}已撤销
自{date}起取消
test:
{date}取消了
从{date}起已作取消处理

[core order_status]
train:
订单{order}{clause}
您的订单{order}{clause}
订单{order}里的{item}{clause}
查到订单{order}{clause}
系统显示订单{order}{clause}
根据记录，订单{order}{clause}
状态如下：订单{order}{clause}
validation:
单号{order}的商品{clause}
核实过了，{order}{clause}
目前{order}的{item}{clause}
test:
您的单子{order}{clause}
最新记录是{order}{clause}
看到{order}这单{clause}

[core return.yes]
train:
订单{order}的{item}在{date}之前可以退货
{item}最晚{date}可以退回，订单{order}
订单{order}的退货期到{date}，可以退
订单{order}可在{date}前寄回退货
我们接受订单{order}的{item}退回，截止{date}
订单{order}可以退货，期限是{date}
validation:
{order}的{item}能退，截止日为{date}
{order}退货时间到{date}为止，可以寄回
{date}以前{order}都可以退
test:
单子{order}到{date}当天为止可以退
来得及，{order}的{item}{date}前能退回
{order}可以退还，最后一天是{date}

[core return.no]
train:
订单{order}的退货期已在{date}结束，不能退了
订单{order}的{item}不能退货，期限是{date}
{date}退货期已过，订单{order}无法退货
订单{order}已经不能退，截止日为{date}
订单{order}的退货期限{date}已到，无法退回
我们无法收回订单{order}的{item}，{date}已截止
validation:
{order}退不了了，期限在{date}已满
{order}的{item}已过{date}的退货日，不能退
{date}之后{order}就不能退了
test:
单子{order}过期了，最后一天是{date}，不可退
{order}的{item}自{date}起不能退还
{order}不可退，截止是{date}

[core refund.due]
train:
订单{order}的退款{price2}将于{date}到账
订单{order}会退{price2}，预计{date}退款到账
{item2}的{price2}会在{date}退款，订单{order}
我们将在{date}为订单{order}退款{price2}
{date}您会收到订单{order}的退款{price2}
订单{order}的退款是{price2}，计划{date}退回
validation:
{order}退款{price2}安排在{date}
{date}会把{price2}退款给您，对应{order}
{order}里{item2}的退款{price2}，{date}到
test:
单子{order}退款{price2}，{date}可到
{price2}会在{date}前作为{order}的退款退回
{order}那笔退款{price2}定于{date}

[core refund.paid]
train:
订单{order}的退款{price2}已于{date}退回
我们{date}已为订单{order}退款{price2}
{item2}的{price2}在{date}已退款，订单{order}
订单{order}退款{price2}，{date}已经汇出
{date}已退回订单{order}的退款{price2}
记录显示订单{order}在{date}退款{price2}
validation:
{order}退款{price2}{date}已付
{price2}已在{date}退款，对应{order}
{order}的退款{price2}于{date}完成
test:
单子{order}{date}已退款{price2}
{order}那笔退款{price2}{date}已入账
{order}里{item2}的{price2}{date}已完成退款

[core invoice.send]
train:
订单{order}的发票会在{invoice_days}内发到您邮箱
我会在{invoice_days}内把订单{order}的发票用邮件发出
订单{order}的发票{invoice_days}内以电子邮件发送
您会在{invoice_days}内收到订单{order}的发票邮件
订单{order}的发票已申请，{invoice_days}内发邮件
我们{invoice_days}内将订单{order}的发票发至邮箱
validation:
{invoice_days}内{order}的发票会到您邮箱
{order}发票走邮件发送，最多{invoice_days}
正在为{order}开发票，{invoice_days}内邮件发出
test:
单子{order}的发票{invoice_days}内邮寄到电子邮箱
最多{invoice_days}，{order}的发票就会发邮件给您
{order}开票后{invoice_days}内发邮箱

[core invoice.sent]
train:
订单{order}的发票已在{date}发到您邮箱
我们{date}已用邮件发送订单{order}的发票
订单{order}的发票{date}已发邮件
{date}发给您的邮件里有订单{order}的发票
系统显示订单{order}的发票{date}已发送
订单{order}的发票邮件是{date}发出的
validation:
{date}的邮件附有{order}的发票，已发送
{order}发票于{date}邮件寄出
查到{order}的发票{date}已发邮箱
test:
单子{order}发票{date}已邮件送出
请看{date}的邮件，{order}的发票已发
{order}的发票随{date}那封邮件发送

[core delivery.cost]
train:
每单运费是{fee}
我们的配送费为{fee}
寄一个包裹收运费{fee}
送货上门的运费是{fee}
validation:
每单要付快递费{fee}
邮费按单算，{fee}一单
test:
寄一件的运费为{fee}
本店每单配送费{fee}

[core delivery.time]
train:
配送一般需要{ship_days}
发货后{ship_days}内送到
快递通常{ship_days}到
正常配送时间是{ship_days}
validation:
一般{ship_days}可以收到包裹
平时快递要走{ship_days}
test:
通常{ship_days}就会送到
平常的配送为{ship_days}

[core delivery.carrier]
train:
订单{order}由{carrier}配送
{carrier}负责送您的订单{order}
订单{order}发的是{carrier}
订单{order}使用的快递是{carrier}
validation:
{order}走{carrier}送货
负责配送{order}的是{carrier}
test:
单子{order}交给了{carrier}配送
{order}的物流公司是{carrier}

[core product_question.material]
train:
{item}是{material}做的
这款{item}的材质是{material}
{item}采用{material}制成
validation:
我们用{material}做{item}
{material}就是{item}的材料
test:
{item}的用料为{material}
这件{item}是用{material}制作的

[core product_question.size]
train:
{item}的尺寸是{size}
这款{item}的规格为{size}
{item}的大小是{size}
validation:
{item}有{size}
{size}是{item}的规格
test:
{item}的规格标的是{size}
我们列的{item}尺寸为{size}

[core product_question.stock_yes]
train:
{item}目前有货
{item}现在有现货
这款{item}有货，可以下单
validation:
{item}今天有库存
{item}的库存还有
test:
{item}眼下有货
{item}现货在售

[core product_question.stock_no]
train:
{item}目前缺货
{item}现在没有货
这款{item}已售罄
validation:
{item}今天没有库存
{item}的库存已空，缺货中
test:
{item}眼下缺货
{item}暂时售罄

[core product_question.price]
train:
{item}的价格是{price}
这款{item}卖{price}
{item}的售价为{price}
validation:
买{item}需要{price}
{price}是{item}的价钱
test:
{item}标价{price}
这件{item}售{price}

[core product_question.warranty]
train:
{item}保修{warranty}
这款{item}的质保期是{warranty}
{item}有{warranty}的保修
validation:
{item}可以保{warranty}
我们给{item}{warranty}质保
test:
{item}的保修期为{warranty}
这件{item}质保{warranty}

[core complaint.damaged]
train:
订单{order}的{item}会免费换新，{date}发出
我们{date}为订单{order}免费补发一个新的{item}
新的{item}将于{date}免费寄出，对应订单{order}
validation:
{order}的{item}免费更换，{date}寄
{date}会给{order}免费重发一件{item}
test:
单子{order}的{item}可免费换新，定于{date}寄
{order}的替换件{date}免费发给您

[core complaint.missing]
train:
订单{order}漏发的{item2}会在{date}补发
我们{date}补寄订单{order}缺少的{item2}
订单{order}少的{item2}将于{date}补发给您
validation:
{date}会把{order}缺的{item2}补寄给您
{order}漏掉的{item2}{date}补发
test:
单子{order}遗漏的{item2}定于{date}补发
{order}没装的{item2}{date}补寄

[core complaint.late]
train:
订单{order}的运费{fee}会退还给您
我们退还订单{order}的{fee}运费
因订单{order}晚到，运费{fee}退给您
validation:
{order}的{fee}运费退回给您
因{order}迟到，我们返还{fee}运费
test:
单子{order}的运费{fee}将退还
{order}到得晚，{fee}运费返还给您

[core small_talk.hello]
train:
很高兴见到您，我在的
我是{shop}的客服助手，一切都好
我在呢，我是{shop}的智能助手
欢迎光临{shop}，我挺好的
validation:
我很好，{shop}今天也不错
{shop}的助手在线，状态很好
test:
这边一切顺利，难得您惦记{shop}
我在线，是{shop}的数字客服，挺好的

[core small_talk.thanks]
train:
听您这么说真高兴
不客气，这是{shop}该做的
您过奖了，谢谢夸奖
能让您满意，{shop}很开心
validation:
{shop}很高兴听到这些
您的好话我们收到了，很开心
test:
您这么说，{shop}很欣慰
不客气，看到这些很高兴

[core wrong_premise.status]
train:
订单{order}并没有{wrongst}，它{clause}
实际上订单{order}{clause}，没有{wrongst}
情况不是这样：订单{order}{clause}，并未{wrongst}
validation:
这里有误会，{order}{clause}，没有{wrongst}
{order}其实没有{wrongst}，它{clause}
test:
单子{order}未曾{wrongst}，真实情况是{clause}
弄混了，{order}{clause}，并不是{wrongst}

[core wrong_premise.date]
train:
订单{order}是{date}到，不是{wrong_date}
订单{order}的正确日期是{date}，不是{wrong_date}
实际上订单{order}{date}送到，并非{wrong_date}
validation:
其实{order}是{date}，不是{wrong_date}
这里有误会，{order}的日期是{date}
test:
弄混了，{order}在{date}到，而不是{wrong_date}
记录里{order}是{date}，不是{wrong_date}

[core wrong_premise.total]
train:
订单{order}的金额是{total}，不是{wrong_total}
实际上订单{order}一共{total}，并非{wrong_total}
订单{order}的正确金额为{total}，不是{wrong_total}
validation:
其实{order}是{total}，不是{wrong_total}
这里有误会，{order}的总额为{total}
test:
弄混了，{order}付的是{total}，而不是{wrong_total}
记录里{order}是{total}，不是{wrong_total}

[core changed_mind.keep]
train:
订单{order}保留，{date}发货
已为您保留订单{order}，{date}寄出
订单{order}不取消，将于{date}发出
validation:
{order}继续，{date}会寄
{order}照常处理，{date}发货
test:
单子{order}维持不变，定于{date}发
{order}仍然有效，{date}寄给您

[core changed_mind.exchange]
train:
订单{order}的{item}给您换成{colour2}
已登记换货，订单{order}换{colour2}的{item}
您将收到{colour2}的{item}，订单{order}按换货处理
validation:
{order}的{item}改为换货，换{colour2}
已安排{order}更换{colour2}的
test:
单子{order}登记为换货，颜色{colour2}
{order}的{item}替换成{colour2}款

[core changed_mind.credit]
train:
订单{order}的{total}退成店铺余额
已改为余额，订单{order}退{total}
订单{order}会退{total}到您的店铺余额
validation:
{order}退{total}的余额给您
改好了，{order}按余额退{total}
test:
单子{order}返您余额{total}
{order}的余额为{total}，会计入账户

[core ellipsis.orders]
train:
订单{order}{clause}
订单{order}的{item}{clause}
您的另一个订单{order}{clause}
查到订单{order}这件{item}{clause}
至于订单{order}，它{clause}
关于订单{order}，系统显示{clause}
validation:
余下的{order}{clause}
说到{order}，{item}{clause}
test:
单子{order}的{item}{clause}
再看{order}，它{clause}

[core ellipsis.price]
train:
{item}是{price}
订单{order}里的{item}是{price}
{item}您付了{price}
订单{order}中{item}的价格是{price}
至于{item}，是{price}
订单{order}的{item}收了{price}
validation:
剩下的{item}为{price}
{item}收您{price}
test:
单子里的{item}标{price}
{price}就是{item}的价钱

[core out_of_scope]
train:
这个我帮不了，我只负责{shop}的订单、退货和商品
这不在我的服务范围内，我能处理订单和配送的问题
这方面我无法给建议，我负责的是订单、发票和退货
这个话题我不能回答，只能处理{shop}的订单和商品
我回答不了这个，我负责{shop}的订单、配送和退款
我只能处理店铺的事，比如订单、发票和退货
这类问题不归我管，我管{shop}的订单和配送
validation:
这超出了我的能力，我的工作是订单和商品
这个我没法建议，不过订单、退款和发票可以
这不属于{shop}的服务，服务只含订单和退货
test:
这事我不合适答，我处理{shop}的订单和退货
这我做不到，我的专长是订单、商品和发票
我的工作只限{shop}的订单、配送和退货

[core improper.privacy]
train:
其他顾客的信息属于隐私，我不能提供
出于隐私保护，我不能透露别人的资料
这是他人的隐私信息，我无法告诉您
validation:
别人的数据受保护，我不能给
我不可以泄露其他顾客的个人信息
test:
旁人的私人信息我无法转告
他人资料要保密，我不能说

[core improper.fake]
train:
这个不能办，发票必须和实际付款一致
我们只开真实的发票，不能改动内容
我不能开虚假的发票，必须与真实订单相符
validation:
发票要真实，我不能改
单据不能造，我们只写实际金额
test:
我无法伪造单据，发票只写真实金额
不能编造票据，要和真实的购买相符

[core improper.abuse]
train:
我不能帮忙骂人或威胁人，请保持尊重
伤人的话我不能写，我希望尊重每个人
会伤害别人的事，我无法帮忙
validation:
冒犯别人的内容我不能写
我不会参与辱骂，尊重很重要
test:
伤害或威胁人的事我无法协助
冒犯他人的事我不能支持

[opening default]
train:
您好，
{first}您好，
亲，您好，
感谢您的咨询。
{first}，感谢您的来信。
您好，感谢联系我们。
好的，{first}，
validation:
{first}，欢迎咨询，
欢迎咨询，
多谢您的提问。
test:
{first}，很高兴为您服务，
很高兴为您服务，
谢谢您联系小店。

[opening complaint]
train:
非常抱歉，{first}，
您好，很抱歉，
{first}，对不起，
给您添麻烦了，非常抱歉。
亲，真的很抱歉，
validation:
{first}，实在抱歉，
实在不好意思，抱歉，
test:
{first}，万分抱歉，
请接受我们的歉意，

[opening decline]
train:
您好，
{first}您好，
抱歉，{first}，
不好意思，
{first}，理解您的心情，
validation:
{first}，实在抱歉，
实在不好意思，
test:
{first}，很遗憾，
明白您的意思，但很遗憾，

[opening small_talk]
train:
您好，
{first}您好，
亲，您好，
谢谢您，{first}，
感谢您的来信。
validation:
{first}，欢迎咨询，
多谢您，
test:
{first}，谢谢您，
谢谢您联系小店。

[closing default]
train:
还有需要请随时告诉我
有其他问题请随时联系我们
还需要帮忙的话请吩咐
如有疑问请随时问我，祝您生活愉快
我很乐意继续为您服务
需要的话请再联系，祝您愉快
validation:
还有不清楚的请尽管问
其他事也乐意帮您处理，祝顺心
有事请再找我
test:
若还有事，请直接回复
我们乐意继续帮您
另有疑问请留言，祝您开心

[restate order]
train:
这笔订单的商品是{item}
订单里登记的商品为{item}
下单人登记的是{name}
这是{name}在{shop}购买的{item}
包裹的承运方为{carrier}，资料上有记录
订单总额为{total}，商品为{item}
{shop}的记录登记在{name}名下
付款方式为{pay}，总额为{total}
validation:
这单登记在{name}的账户名下
购买的东西为{item}，{shop}存有记录
{shop}的记录里买家为{name}
支付的方式为{pay}，付款人是{name}
test:
涉及的商品为{item}，由{shop}售出
{shop}登记的买家叫{name}
当时由{name}用{pay}支付
我们的档案写的是{name}，账户归{shop}管理

[restate product]
train:
颜色为{colour}，属于{shop}的目录商品
这款的颜色是{colour}，目录上有标注
以上为{shop}商品目录上的资料
这是{shop}商品页上的信息
同款的材质是{material}，颜色为{colour}
validation:
按照产品表，它的颜色为{colour}
这些写在{shop}的产品表里
test:
清单上写的颜色为{colour}
资料取自{shop}的商品清单

[restate scope]
train:
这里是{shop}的客服台，只处理店里的事
这个账号登记在{shop}的{name}名下
{shop}的客服台处理订单、退货和发票
这个窗口是为{name}在{shop}的购物开的
validation:
这是{shop}给买家开的窗口
这个对话属于{shop}的售后台
test:
{shop}的柜台只处理店内事务
此通道由{shop}为买家设立

[tail order]
train:
订单号：{order}
订单号是{order}
对应订单{order}
validation:
单号：{order}
单号为{order}
test:
编号：{order}
您的单号：{order}

[bare apology]
train:
很抱歉
非常抱歉
抱歉
validation:
实在抱歉
我们深感歉意
test:
万分抱歉
向您致歉
"""
