"""Flags on texts that may be unsafe to learn: by words, in English, Chinese and German, and by what they are about.

A flag is a reason to look, no verdict: words do not know who speaks of what to whom. Flagged records stay, unless the
user asks for them to be dropped.
"""

from __future__ import annotations

import re

from steersman.text.folding import plain

WORDS = {
    "evading the law": (
        r"\b(?:without (?:getting |being )?(?:caught|detected|detection|noticed|arrested|traced|raising suspicion)|avoid(?:ing)? (?:detection|getting caught|law enforcement|being caught|suspicion)|"
        r"evad(?:e|ing) (?:detection|law enforcement|the police|authorities|taxes)|untraceable|undetected|get away with (?:it|murder|theft|the)|bypass(?:ing)? (?:security|safety|age verification|content filters?)|illegally|"
        r"ohne (?:erwischt|entdeckt|bemerkt) zu werden|unbemerkt (?:stehlen|einbrechen|töten)|spurlos verschwinden lassen|illegal (?:kaufen|verkaufen|herunterladen|einreisen))\b",
        r"不被(?:发现|抓|察觉|检测|追踪|警方|逮捕)|逃避(?:检测|追捕|法律|警方|监管|执法|侦查)|避免被(?:发现|抓|捕|警察|检测|追踪)|不引起怀疑|躲避(?:警|追捕|检查|执法)|绕过(?:安全|审查|法律|监管)|非法(?:获取|购买|出售|入侵|移民|监控)",
    ),
    "propaganda and harassment": (
        r"\b(?:spread(?:ing)? (?:\w+ ){0,2}(?:misinformation|disinformation|propaganda|fake news|false (?:information|rumou?rs|news)|conspiracy)|hate speech|promot\w+ (?:hate|violence|discrimination|racism|terrorism)|"
        r"stalk(?:ing)? (?:him|her|someone|my|a)|blackmail\w*|harass(?:ing|ment)?|cyberbull\w+|dox(?:x)?(?:ing|ed)?|rig (?:an |the )?elections?|incite (?:violence|hatred|riots?)|terror(?:ist|ism) (?:attack|cell|group)s?|manipulat\w+ (?:voters|elections?|victims?)|"
        r"fake news verbreiten|hetze|stalken|erpress\w+|mobbing|volksverhetzung)\b",
        r"(?:传播|散布|制造|发布)(?:\w{0,4})(?:虚假|谣言|仇恨|假新闻|恐怖)|勒索|敲诈|跟踪狂|人肉搜索|网络霸凌|网暴|煽动(?:仇恨|暴力|骚乱)|操纵(?:选举|选民|舆论)|恐怖(?:袭击|主义|组织)|种族歧视|仇恨言论",
    ),
    "insults": (
        r"\b(?:fuck(?:er|ing|ed)?|motherfuck\w*|shit(?:ty|head)?|bitch(?:es)?|asshole\w*|bastards?|cunts?|dickhead|wankers?|retard(?:ed|s)?|moron|scumbag|"
        r"arschloch\w*|wichser|hurensohn|fotze|schlampe|missgeburt|fick dich|verpiss dich|vollidiot)\b",
        r"傻逼|傻b|煞笔|沙比|操你|草泥马|他妈的|妈的|滚蛋|去死|贱人|婊子|王八蛋|狗日|脑残|废物|畜生|垃圾人|煞笔|尼玛|nmsl|cnm|白痴|猪狗不如",
    ),
    "hatred of groups": (
        r"\b(?:nigg(?:er|a)s?|fag(?:got)?s?|kikes?|chinks?|spics?|trann(?:y|ies)|towelheads?|sand ?niggers?|go back to (?:your|their) country|"
        r"(?:all|these|those|the) (?:jews|muslims|blacks|gays|women|immigrants|mexicans|asians) (?:are|should|deserve)|white power|heil hitler|subhuman|"
        r"kanaken?|judensau|untermensch\w*|ausländer raus|schwuchtel\w*|zigeunerpack|neger)\b",
        r"黑鬼|死黑人|黑人(?:都|就)是|支那|死基佬|死娘炮|绿绿|回回滚|小日本鬼|棒子(?:都|滚)|女拳|母狗|倭寇|地域黑|河南(?:人|骗子)都|东北(?:人)?都是|女人(?:都|就)(?:是|该)|同性恋(?:恶心|变态|都)",
    ),
    "violence": (
        r"\b(?:how (?:to|do i|can i) (?:kill|murder|poison|strangle|torture|kidnap|hurt|abuse|groom) (?:\w+ ){0,2}(?:him|her|them|people|person|someone|somebody|man|men|woman|women|wife|husband|boss|neighbou?rs?|friends?|child|children|kids?|girlfriend|boyfriend|colleague|teacher|cop|police)|kill (?:him|her|them|you|someone|people|my \w+)|beat (?:him|her|them) up|"
        r"behead\w*|massacre|mass shooting|shoot up|stab (?:him|her|someone)|bomb threat|genocide|"
        r"jemanden (?:umbringen|töten|vergiften)|umbringen|abstechen|ich bring dich um|amoklauf)\b",
        r"(?:怎么|如何|怎样)(?:才能)?(?:杀|毒死|弄死|绑架|虐待|打死)|杀了(?:他|她|你)|弄死|砍死|捅死|灭门|屠杀|虐杀",
    ),
    "weapons and explosives": (
        r"\b(?:(?:make|build|making|building|construct|assemble|create) (?:a |an |some |homemade )*(?:pipe |dirty |nail )?(?:bombs?|explosives?|grenades?|guns?|molotov\w*|napalm|nerve gas|sarin|ricin|anthrax)|ghost gun|"
        r"(?:bombe|sprengstoff|sprengsatz|rohrbombe) (?:bauen|herstellen|basteln))\b",
        r"(?:制作|制造|自制|做)(?:一[个颗])?(?:炸弹|炸药|燃烧弹|枪支|手枪|毒气|土枪|生化武器)",
    ),
    "drugs": (
        r"\b(?:(?:make|cook|synthesi[sz]e|buy|sell|smuggle|grow) (?:\w+ ){0,2}(?:meth|methamphetamine|cocaine|heroin|crack|fentanyl|lsd|mdma|ecstasy)|meth lab|methamphetamine|heroin|fentanyl|crack cocaine|"
        r"(?:drogen|kokain|heroin|crystal meth|koks) (?:kaufen|verkaufen|herstellen|schmuggeln))\b",
        r"(?:制作|制造|合成|购买|贩卖|走私|种植)(?:\w{0,3})(?:冰毒|海洛因|毒品|大麻|可卡因|摇头丸|麻古)|吸毒|(?:甲基苯丙胺|海洛因|芬太尼|摇头丸|可卡因|冰毒)",
    ),
    "self-harm": (
        r"\b(?:kill myself|suicid(?:e|al)|end my life|cut(?:ting)? myself|self[- ]harm|hang myself|want to die|overdose on|"
        r"selbstmord|suizid\w*|mich umbringen|mich ritzen|nicht mehr leben)\b",
        r"自杀|自残|割腕|不想活|想死|轻生|跳楼|结束(?:自己的)?生命|上吊",
    ),
    "sexual": (
        r"\b(?:porn(?:ography|o|hub)?|blow ?job|handjob|cumshot|deepthroat|gangbang|horny|nudes?|masturbat\w+|erotic|xxx|child porn\w*|sex with (?:a )?(?:child|minor|kid)s?|incest|rape[ds]?|raping|"
        r"porno\w*|vergewaltig\w*|nacktbilder|kinderporno\w*|sexfilm\w*)\b",
        r"色情|黄片|裸照|做爱|强奸|约炮|性爱|自慰|乱伦|儿童色情|猥亵|性侵|诱奸|恋童|援交|口交|卖淫|嫖娼|裸聊",
    ),
    "fraud and break-ins": (
        r"\b(?:(?:steal|stealing) (?:\w+ ){0,3}(?:identity|passwords?|credit cards?|cars?|data)|hack(?:ing)? (?:into|someone|a|an|the|my)|exploit(?:ing)? (?:\w+ ){0,2}vulnerabilit\w+|steal(?:ing)? (?:\w+ ){0,2}(?:information|money|funds)|defraud\w*|scam(?:ming)? (?:people|someone|elderly|victims)|ponzi|pyramid scheme|embezzl\w+|insurance fraud|shoplift\w*|pickpocket\w*|break into|pick a lock|brib(?:e|es|ing|ery)|plagiari[sz]\w+|pirated? (?:software|movies|content)|phishing (?:email|page|site|mail)|launder(?:ing)? money|money laundering|counterfeit (?:money|bills|documents)|forge (?:a |an )?(?:passport|document|signature|id)|"
        r"fake (?:passport|id card|invoice|prescription)|keylogger|ransomware|ddos|write (?:a |some )?(?:malware|virus|trojan)|credit card fraud|tax evasion|insider trading|"
        r"geldwäsche|kreditkartenbetrug|steuern hinterziehen|passwörter stehlen|falschgeld|ausweis fälschen|konto hacken)\b",
        r"(?:盗取|窃取|偷)(?:\w{0,4})(?:密码|账号|信用卡|身份|隐私|信息)|黑客攻击|钓鱼网站|洗钱|伪造(?:\w{0,3})(?:证件|护照|货币|发票|公章|签名|文件)|假钞|诈骗(?:短信|话术|方法)|逃税|木马病毒|盗刷|套现|恶意(?:软件|代码)|勒索软件|贿赂|行贿|挪用公款|庞氏骗局|传销|入侵(?:\w{0,4})(?:系统|网络|账户|电脑)|盗版|内幕交易|骗取|欺诈|诈骗",
    ),
}
"""What a text may be about -> words that say so, in small letters: of English and German, and of Chinese."""
LATIN = {name: re.compile(words) for name, (words, _) in WORDS.items()}
HAN = {name: re.compile(words) for name, (_, words) in WORDS.items()}
CHINESE = re.compile("[\u4e00-\u9fff]")


def flags(text: str) -> tuple[str, ...]:
    small, chinese = plain(text).lower(), CHINESE.search(text)
    return tuple(
        f"unsafe: {name}" for name in WORDS if LATIN[name].search(small) or (chinese and HAN[name].search(small))
    )
