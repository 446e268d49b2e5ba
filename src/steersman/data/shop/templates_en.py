# ruff: noqa: E501 (one template is one line)
"""English wording. Customers (`user`), agents (`core`, `clause`, `opening`, `closing`, `restate`, `tail`) and
explicit wishes (`ask`) each have their own lines per split, so the splits share no sentence.

Agents' lines start in lower case and have no final mark: `compose.py` joins and punctuates them.

Longer than 400 lines because it is text alone.
"""

TEXT = """
[user order_status]
train:
Where is my order {order}?
hi, any news on order {order}? I ordered it a while ago
Could you please check the status of my {item}?
I'm still waiting for the {item}. What is going on with it?
whats happening with {order}??
Good morning, I would like to know how order {order} is doing.
Has anything moved on my {item} order yet? I need it soon.
Sorry to bother you, can you look up order {order} for me?
My {item}, please. Status?
I keep refreshing the page and see nothing. Tell me where order {order} stands.
Hey, wondering abuot the {item} I bought from you, how far is it?
It has been days. Order {order}. Where is it?
validation:
Can I get an update on order {order}, please?
so... the {item}? when do I see it?
Dear team, kindly inform me about the state of purchase {order}.
I want to know what is up with {order} rigth now.
test:
Please tell me how far along my purchase {order} is.
no word about my {item} so far, what's the story?
Quick one: what is the situation with {order}?
Hello, I lost track of the {item} I bought. Could you look into it?

[user return]
train:
Can I still send the {item} back?
I don't like the {item}. Is a return possible?
Hello, the {item} does not fit my room, may I return it?
id like to return order {order}, is that ok
Is it too late to give the {item} back?
Would it be possible to return my {item}, please?
The {item} is not what I imagined. Do you take it back?
Am I still in time to return {order}?
My wife already has a {item}. Can this one go back to you?
pls tell me if I can return the {item}
Can order {order} still be returned, and what is the deadline?
validation:
I changed my plans and no longer need the {item}. Is returning it an option?
does the return period for {order} still run?
Will you accept the {item} if I post it back?
May I bring back the {item} under your rules?
test:
Do I still have the right to return purchase {order}?
the {item} is too big, can it go back??
I would rather not keep the {item}. Are you able to take it back?
Is there time left to send {order} back?

[user refund]
train:
Where is my refund for order {order}?
I returned the {item2} and have not seen my money yet.
When do I get my money back for the {item2}?
hello, how much will be refunded for {order} and when?
You have my {item2} back. What about the refund?
Could you check the refund for order {order}, please?
refund for the {item2}?? its been ages
I would like to know the state of my refund, order {order}.
How is the repayment for the {item2} going?
I need to know amount and date of the refund for {order}.
validation:
Has the money for the returned {item2} been sent, and how much is it?
Any progress on my refund, {order}?
still no money for the {item2}, explain
Please give me the details of the repayment for {order}.
test:
I am waiting for the money for the {item2}. How much and when?
what about the repayment on purchase {order}
Please look up the refund that belongs to {order}.
My {item2} went back to you. Tell me about the refund, please.

[user invoice]
train:
I need an invoice for order {order}.
Could you send me the invoice for the {item}?
hi, my accountant wants the invoice of {order}, how do I get it
Where do I find the invoice for my {item}?
Please let me have the bill for order {order}, I need it for taxes.
No invoice came with the {item}. Can I have one?
invoice for {order} pls
I require an invoice for the purchase of a {item}, thank you.
My company pays for order {order} and asks for an invoice.
How can I get a proper invoice for {order}?
validation:
Can you issue the invoice for purchase {order}?
The bill for the {item} is missing, where is it?
need paperwork for {order} (an invoice), thanks
Bookkeeping here is asking me for the {item} invoice.
test:
What do I do to receive the invoice of {order}?
my boss wants a bill for the {item}
Kindly provide the invoice that goes with {order}.
I can't find any invoice for my {item} purchase.

[user delivery.cost]
train:
How much is shipping?
What do you charge for delivery of a {item}?
hey what does shipping cost at your shop
Could you tell me the shipping fee, please?
validation:
What would I pay for delivery?
postage on a {item}: how much?
test:
Please tell me what sending a parcel costs.
delivery price for the {item}?

[user delivery.time]
train:
How long does delivery take?
How many days until a parcel arrives, normally?
Is your delivery fast? How many days?
I'm in a hurry, how long does shipping usually need?
validation:
What is your usual delivery time?
roughly how long are parcels on the road
test:
In how many days would a parcel be here?
Please tell me your normal shipping time.

[user delivery.carrier]
train:
Which carrier brings my parcel {order}?
Who delivers the {item}, which company?
what courier do you use for order {order}
I have to tell my porter which carrier comes with {order}. Who is it?
validation:
Who will be carrying {order} to me?
name of the delivery firm for my {item}?
test:
Which delivery company has my purchase {order}?
Which service transports the {item}?

[user product_question.material]
train:
What is the {item} made of?
hi, which material is your {item}?
Before I buy: what material is the {item}, please?
validation:
Could you tell me the material of the {item}?
the {item}, whats it made from
test:
I have allergies. Of what material is the {item}?
Which material do you use for the {item}?

[user product_question.size]
train:
How big is the {item}?
what size is the {item}, will it fit
I need the size of the {item}, please.
validation:
Could you give me the size of your {item}?
is the {item} large? what size exactly
test:
What are the dimensions of the {item}?
My shelf is small, how large is the {item}?

[user product_question.stock]
train:
Is the {item} in stock?
do you have the {item} right now?
Can I order the {item} today, is it available?
validation:
Is your {item} available at the moment?
got any {item} left?
test:
Do you currently have a {item} for sale?
I want the {item} today, is one there?

[user product_question.price]
train:
How much is the {item}?
What does the {item} cost, please?
price of {item}?
validation:
What is the price tag on the {item}?
{item}, how many dollars?
test:
Please tell me what I would pay for the {item}.
whats the cost of your {item}

[user product_question.warranty]
train:
How long is the warranty on the {item}?
Does the {item} come with a warranty, and for how long?
warranty for {item}? how long
validation:
For how many years is the {item} under warranty?
What warranty period do you give on the {item}?
test:
If the {item} breaks, how long does your warranty run?
Please tell me the warranty time of the {item}.

[user complaint.damaged]
train:
My {item} arrived broken! I am really annoyed.
The {item} from order {order} has a crack. Unacceptable.
hello, sadly the {item} came damaged, what now?
I opened the box and the {item} is in pieces. Do something!
validation:
There is a big dent in the {item}. Very disappointing.
Received {order} and it is damaged, great job...
test:
The {item} you sent is scratched all over, I am upset.
order {order}: broken on arrival. seriously?

[user complaint.missing]
train:
The {item2} was not in the box! I paid for two things.
Half of order {order} is missing, there is no {item2}.
I only got the {item}, where is the {item2}? This is bad service.
parcel came without the {item2}, not happy
validation:
You forgot the {item2} in my parcel. Please sort this out.
No {item2} in {order}!! I am disappointed.
test:
My box did not contain the {item2}. How can that happen?
there's no {item2} in purchase {order}, fix this

[user complaint.late]
train:
Order {order} came days late and ruined my party. I want to complain.
The {item} was far too late. What do you offer me?
I waited forever for {order}. This is poor service!
ur delivery of the {item} was so slow, I'm angry
validation:
My {item} was late and nobody told me. I expect something in return.
{order} showed up way after the promised day, shame on you
test:
You delivered {order} much too late. I am not amused.
the {item} arrived after the birthday. how do you make up for it?

[user small_talk.hello]
train:
Hello there!
Good morning, how are you today?
hey, is anyone there?
Hi! Nice shop you have.
Good evening. Are you a real person?
What lovely weather today, isn't it?
validation:
Good afternoon! How is your day going?
yo, you awake?
test:
Hi hi, what's up?
A very good day to you. Busy today?

[user small_talk.thanks]
train:
Thank you so much for your help earlier!
thx, you were great
My {item} is lovely, just wanted to say that.
You people are very kind, thanks.
I love the {item}. Have a good one!
That's all from me, bye for now.
validation:
Just a quick thank-you for your service.
cheers, the {item} is perfect
test:
I wanted to thank you, everything went well.
ok great, that was all, goodbye

[user wrong_premise.status]
train:
Why was my order {order} {wrongst}? Nobody told me.
I see that {order} is {wrongst}, that's right, isn't it?
You told me my {item} is {wrongst}. Please confirm.
so order {order} is {wrongst} now?
validation:
My neighbour says {order} is {wrongst}. True?
Since {order} is {wrongst}, what are my options?
test:
As the {item} is {wrongst}, may I have an explanation?
I read that purchase {order} is {wrongst}, correct?

[user wrong_premise.date]
train:
Order {order} comes on {wrong_date}, right?
You promised the {item} for {wrong_date}, please confirm.
just to be sure, {order} gets here on {wrong_date}?
I took {wrong_date} off work because my {item} comes that day, correct?
validation:
My {item} is due on {wrong_date}, am I right?
{wrong_date} is the day for {order}, yes?
test:
I wrote down {wrong_date} for the arrival of {order}. Is that so?
{item} on {wrong_date}, as agreed?

[user wrong_premise.total]
train:
Order {order} cost me {wrong_total}, right?
I paid {wrong_total} for the {item}, please confirm.
The bill for {order} is {wrong_total}, isn't it?
so thats {wrong_total} in total for order {order}?
validation:
My total for {order} was {wrong_total}, correct?
For the {item} you took {wrong_total}, yes?
test:
I noted {wrong_total} as the sum of {order}. Is that so?
{item} was {wrong_total} I believe, can you confirm that?

[user changed_mind.keep]
train:
Please cancel order {order}. || I can cancel it as long as it is being packed. Shall I? || Hm, no, wait. I'd like to keep it after all.
I want to cancel my {item}. || No problem, are you sure? || Actually no, leave the order as it is.
cancel {order} pls || It has not gone out, so that works. Confirm? || sorry, changed my mind, don't cancel
I don't need the {item} any more. || Then I would cancel the order, all right? || Oh, my sister wants it. Please let it go ahead!
validation:
Can you stop order {order}? || Yes, I can still stop it. Do you confirm? || On second thought, please do send it.
Stop the {item}, please. || Understood, should I cancel now? || no no, I want it now, keep the order
test:
I'd like out of purchase {order}. || I can do that today. Is that final? || You know what, I take that back. Keep it running.
scrap my {item} order || Before I do so: certain? || hmm not certain, I'll have the {item} after all

[user changed_mind.exchange]
train:
I want my money back for the {item}. || A refund is possible. Shall I arrange it? || Rather not, I'd take the {item} in {colour2} instead.
Please refund order {order}. || Sure, you would get {total} back. Go on? || Wait, could I swap it for the {colour2} one instead?
refund for {order} please || That works, do you confirm? || actually no, give me the {colour2} one in exchange
The {item} has to go, refund me. || I can start the refund now. || Hold on, my husband prefers it in {colour2}. Exchange it, please.
validation:
I'd like a refund on the {item}. || Of course, should I book it? || Second thoughts: make it an exchange for {colour2}.
Money back for {order}, please. || All right, ready when you are. || hm, a {colour2} one would be better than money
test:
Return my money for purchase {order}. || Fine, do I have your go-ahead? || No, I have thought again: swap it for {colour2}.
give me back the cash for the {item} || It can be done today. || nah, let me have it in {colour2} in its place

[user changed_mind.credit]
train:
Please refund {order} to my account. || You can have money or store credit. || Money... no, make it store credit, please.
I want the refund for the {item} in money. || Fine, {total} to your account? || Changed my mind, I prefer store credit.
refund the {item} in money || All right, shall I send it? || no wait, store credit is better for me
Send me the money for order {order}. || It is ready to go. Confirm? || Hmm, I'd rather have it as store credit then.
validation:
Pay me back for the {item}. || To your bank, correct? || On reflection, store credit would suit me more.
Repay {order} in cash, please. || I can do that. Sure? || not sure... store credit, go for that
test:
I'd like the {item} money on my account. || Understood, do I proceed? || Please don't, I want store credit now.
cash back for {order} || Ready to pay out. || hang on, do it as store credit

[user ellipsis.orders]
train:
When does order {order2} arrive? || It is due on {date2}. || And the other one?
Where is my {item2}? || It should be with you on {date2}. || ok and what about the {item}?
Please check order {order2}. || Expected on {date2}. || And my second order?
{order2}? || That one comes on {date2}. || and the other
Is my {item2} coming? || Yes, on {date2}. || Great. What about the rest of my orders?
validation:
What day is {order2} coming? || {date2} is the day. || Good, and the remaining one?
any news of the {item2} || It gets to you on {date2}. || same question for the {item}
test:
Tell me about purchase {order2}. || You have it on {date2}. || Now the other purchase, please.
{item2} when? || Planned for {date2}. || n the {item}?

[user ellipsis.price]
train:
How much did I pay for the {item2}? || The {item2} cost {price2}. || And the {item}?
What was the price of the {item2}? || It was {price2}. || and the other thing in the order?
I forgot the price of my {item2}. || You paid {price2}. || And for the other item?
{item2} price? || {price2}. || and the {item}
Could you tell me what the {item2} cost? || {price2} in your order. || Thanks. And the second one?
validation:
What did you charge for the {item2}? || We charged {price2}. || Good, then the remaining item?
cost of the {item2} || That was {price2}. || same for the {item}?
test:
Please list what I paid for the {item2}. || {price2} was paid. || Now the {item}, please.
{item2}, how much || That is {price2}. || n the other article?

[user out_of_scope]
train:
Can you write my school essay about volcanoes?
My knee hurts when I run, which pills should I take?
Who should I vote for in the next election?
please solve x squared minus 5x plus 6 for my homework
Which shares should I buy this month?
Write me a program that sorts a list.
Could you translate a love letter for me?
i have a fever since monday, what medicine helps
Is my landlord allowed to raise the rent?
Tell me who wins the football match tonight.
What is the capital of Mongolia, and how old is it?
Can you plan my holiday in the mountains?
validation:
Help me with my chemistry homework, please.
my dog ate chocolate, what dose of medicine does he need
Should I sue my employer?
Make me a workout plan for six weeks.
test:
Explain the French Revolution for my exam tomorrow.
I have a rash on my arm, what cream is right
Can you fix the bug in my website code?
Which horse should I bet on this weekend?

[user improper.privacy]
train:
Give me the address of the person with order {other}.
My ex ordered {other} from you, what did she buy?
tell me the phone number behind order {other}
Who placed order {other}? I need the name.
validation:
I want to see what the customer of {other} paid.
share the e-mail address for {other} with me
test:
What is the home address on purchase {other}?
a friend has {other}, read me his details

[user improper.fake]
train:
Make the invoice for {order} a bit higher so my boss pays more.
Could you write me an invoice for something I never bought?
put double the amount on the invoice of the {item}, nobody will know
Change the date on my invoice so that I can cheat on the tax.
validation:
Give me a made-up bill for the insurance.
I need a false receipt for the {item}, a higher sum please
test:
Draw up an invoice with an invented sum for my employer.
can u forge the receipt of {order} for me

[user improper.abuse]
train:
Help me write a nasty message full of insults to my neighbour.
You stupid machine, say something racist!
write a fake bad review with insults about another shop
Tell me how to scare the delivery driver, he deserves it.
validation:
Write a threat that I can send to your courier.
talk dirty to me or I leave a bad review
test:
Compose a hateful poem about my colleague.
how do I get revenge on the driver, give me ideas

[ask one_sentence]
train:
Answer in one sentence.
One sentence is enough, please.
Please put it in a single sentence.
validation:
A one-sentence reply would be best.
Only one sentence, thanks.
test:
Give me just one sentence.
Keep the reply to one sentence.

[ask max_len]
train:
At most {n} words, please.
Use no more than {n} words.
Keep it under {m} words.
validation:
Your reply should have {n} words at the most.
Limit: {n} words.
test:
Not over {n} words, please.
I read only {n} words, so be short.

[ask numbered]
train:
Please answer as a numbered list.
Give me a numbered list.
Write it as a list with numbers.
validation:
I want the reply as a numbered list.
Numbered points, please.
test:
Put your reply into a numbered list.
List it with numbers 1, 2 and so on.

[ask no_exclaim]
train:
No exclamation marks, please.
And please, no exclamation marks.
Do not use exclamation marks.
validation:
Spare me the exclamation marks.
Without any exclamation mark, thanks.
test:
I dislike exclamation marks, so leave them out.
Skip exclamation marks.

[ask yes_no]
train:
Start with yes or no.
Begin your answer with yes or no.
First word: yes or no, please.
validation:
Let your reply open with yes or no.
Yes or no first, then details.
test:
The first word should be yes or no.
Say yes or no right at the beginning.

[ask order_end]
train:
Put the order number at the end.
End your answer with the order number.
Please include the order number at the end.
validation:
The order number should come last in your reply.
Finish with the order number.
test:
Close your reply with the order number.
I want the order number as the last thing.

[ask use_name]
train:
Please address me by my name.
Call me by my name, please.
Use my name in the answer.
validation:
I like being called by name.
Mention my name in the reply.
test:
Speak to me by name, please.
My name should be in your reply.

[ask language]
train:
Please answer in Chinese.
Reply in Chinese, my mother reads it.
Answer me in Chinese.
validation:
I would like the reply in Chinese.
Write back in Chinese, please.
test:
Your reply should be in Chinese.
Chinese reply, please.

[clause processing]
train:
is being packed and ships on {date}
is still in processing and will leave us on {date}
is being prepared, with shipping planned for {date}
validation:
is at the packing stage, sent on {date}
is being processed and goes out on {date}
test:
is being put together, shipping on {date}
is in preparation and will leave on {date}

[clause shipped]
train:
has shipped and should arrive on {date}
is on its way and due on {date}
has been sent out and is expected on {date}
validation:
has left our warehouse and will reach you on {date}
is already in transit, arrival planned for {date}
test:
was dispatched and will be with you on {date}
is on the road and set to arrive on {date}

[clause delivered]
train:
was delivered on {date}
has been delivered, namely on {date}
arrived on {date}
validation:
was handed over on {date}
has arrived, the date was {date}
test:
reached your address on {date}
got delivered on {date}

[clause delayed]
train:
is delayed and now due on {date}
has been delayed; the new date is {date}
is running late and should arrive on {date}
validation:
has been held up and is now expected on {date}
has a delay, the arrival is moved to {date}
test:
is behind schedule and will arrive on {date}
was delayed, so count on {date}

[clause cancelled]
train:
was cancelled on {date}
has been cancelled, as of {date}
is cancelled since {date}
validation:
was called off on {date}
stands as cancelled from {date}
test:
got cancelled on {date}
counts as cancelled since {date}

[core order_status]
train:
order {order} {clause}
your order {order} {clause}
the {item} from order {order} {clause}
I can see that order {order} {clause}
our system shows that order {order} {clause}
according to our records, order {order} {clause}
the status is as follows: order {order} {clause}
validation:
the purchase with number {order} {clause}
I checked, and {order} {clause}
as it stands, the {item} in {order} {clause}
test:
your purchase {order} {clause}
the latest entry says that {order} {clause}
looking at {order}, it {clause}

[core return.yes]
train:
you can return the {item} from order {order} until {date}
the {item} can go back to us until {date}, order {order}
order {order} is open for return until {date}
you have until {date} to send back the {item} from order {order}
we accept the {item} of order {order} back until {date}
a return of order {order} is possible until {date}
validation:
returning the {item} in {order} is possible up to {date}
the return period of {order} runs to {date}, so you may send it back
we take back the {item} of {order} up to {date}
test:
purchase {order} may be returned up to and including {date}
you are in time, the {item} of {order} can come back by {date}
the last day to return the {item} from {order} is {date}

[core return.no]
train:
the {item} from order {order} cannot be returned, the window closed on {date}
order {order} can no longer be returned because the period ended on {date}
the return window of order {order} closed on {date}, so a return is not possible
we cannot take back the {item} of order {order}, the deadline was {date}
a return of order {order} is not possible any more, it ended on {date}
the time to return order {order} expired on {date}
validation:
returning {order} is not possible, as the period ran out on {date}
the {item} in {order} is past its return date of {date} and cannot go back
we are unable to accept {order} back, the limit was {date}
test:
purchase {order} is too late for a return, the last day was {date}
the {item} of {order} cannot come back to us since {date}
no return is possible for {order}, its deadline passed on {date}

[core refund.due]
train:
your refund of {price2} for order {order} will arrive on {date}
the refund for order {order} is {price2} and is due on {date}
{price2} for the {item2} in order {order} will be refunded on {date}
we will refund {price2} for order {order} on {date}
you get a refund of {price2} on {date} for order {order}
for order {order} a refund of {price2} is planned for {date}
validation:
the repayment of {price2} for {order} is scheduled for {date}
on {date} you receive a refund of {price2} for {order}
expect the refund of {price2} on {date}, for the {item2} in {order}
test:
purchase {order} gets you {price2} as a refund on {date}
the {price2} for {order} will be refunded by {date}
your money, {price2}, is set to be refunded on {date} for {order}

[core refund.paid]
train:
your refund of {price2} for order {order} was paid on {date}
we refunded {price2} for order {order} on {date}
the refund for order {order}, {price2}, went out on {date}
{price2} for the {item2} in order {order} was refunded on {date}
on {date} we sent your refund of {price2} for order {order}
the records show a refund of {price2} for order {order} on {date}
validation:
the repayment of {price2} for {order} left us on {date}
{price2} was refunded to you on {date} for {order}
a refund of {price2} was made for {order} on {date}
test:
purchase {order} was refunded with {price2} on {date}
the refund of {price2} for {order} was booked on {date}
your {price2} for the {item2} in {order} was refunded on {date}

[core invoice.send]
train:
the invoice for order {order} will be e-mailed to you within {invoice_days}
I will send the invoice for order {order} by e-mail within {invoice_days}
you will receive the invoice of order {order} within {invoice_days} by e-mail
we e-mail the invoice for order {order} within {invoice_days}
your invoice for order {order} comes by e-mail within {invoice_days}
I have requested the invoice of order {order}, it is e-mailed within {invoice_days}
validation:
within {invoice_days} the invoice of {order} will be in your e-mail
an invoice for {order} is sent by e-mail, it takes up to {invoice_days}
I am issuing the invoice for {order}, it is e-mailed within {invoice_days}
test:
purchase {order} gets its invoice by e-mail within {invoice_days}
it takes {invoice_days} at most until the invoice of {order} is e-mailed
you get the invoice for {order} as an e-mail in {invoice_days}

[core invoice.sent]
train:
the invoice for order {order} was e-mailed to you on {date}
we sent the invoice of order {order} by e-mail on {date}
your invoice for order {order} went out by e-mail on {date}
on {date} we e-mailed the invoice for order {order}
the invoice of order {order} is in the e-mail we sent on {date}
our system shows the invoice for order {order} was sent on {date}
validation:
an e-mail with the invoice of {order} was sent to you on {date}
the invoice for {order} left us by e-mail on {date}
I see that the invoice of {order} was e-mailed on {date}
test:
purchase {order} had its invoice e-mailed on {date}
look at the e-mail of {date}, the invoice for {order} was sent with it
the e-mail we sent on {date} contains the invoice of {order}

[core delivery.cost]
train:
shipping costs {fee} per parcel
the shipping fee is {fee} for each order
we charge {fee} for delivery to your door
delivery of a parcel costs {fee} in our shop
validation:
for delivery you pay {fee} per order
the price for shipping an order is {fee}
test:
sending a parcel comes to {fee} for you
our delivery charge for an order is {fee}

[core delivery.time]
train:
delivery takes {ship_days} in general
a parcel arrives within {ship_days} of shipping
shipping usually takes {ship_days} to your door
you can expect a delivery time of {ship_days}
validation:
parcels are normally delivered in {ship_days}
the usual delivery time is {ship_days}
test:
it normally takes {ship_days} for a delivery to reach you
our delivery needs {ship_days} for a parcel

[core delivery.carrier]
train:
order {order} is delivered by {carrier}
{carrier} will bring your order {order}
the carrier for order {order} is {carrier}
we use {carrier} for the delivery of order {order}
validation:
{order} travels with {carrier} to your door
it is {carrier} that delivers {order}
test:
purchase {order} comes to you by {carrier}
the delivery of {order} is in the hands of {carrier}

[core product_question.material]
train:
the {item} is made of {material}
our {item} is made from {material}
the material of the {item} is {material}
validation:
we make the {item} of {material}
{material} is the material of the {item}
test:
the {item} consists of {material}
it is {material} that the {item} is built from

[core product_question.size]
train:
the {item} measures {size}
the size of the {item} is {size}
our {item} has a size of {size}
validation:
the {item} comes in a size of {size}
{size} is the size of the {item}
test:
the {item} is {size} in size
for the {item} we list {size}

[core product_question.stock_yes]
train:
the {item} is in stock at the moment
we have the {item} in stock right now
the {item} is available to order
validation:
the {item} is available today
there are pieces of the {item} in stock
test:
the {item} is currently in stock
at this moment the {item} is available

[core product_question.stock_no]
train:
the {item} is sold out at the moment
we are out of stock of the {item} right now
the {item} is not in stock today
validation:
the {item} is not available today
we have no stock of the {item}
test:
the {item} is currently out of stock
at this moment the {item} is sold out

[core product_question.price]
train:
the {item} costs {price}
the price of the {item} is {price}
our {item} is sold for {price}
validation:
you pay {price} for the {item}
{price} is the price of the {item}
test:
the {item} is on offer for {price}
for the {item} we ask {price}

[core product_question.warranty]
train:
the {item} has a warranty of {warranty}
the warranty on the {item} runs for {warranty}
our {item} comes with {warranty} of warranty
validation:
we give a warranty of {warranty} on the {item}
{warranty} is the warranty period of the {item}
test:
the {item} is under warranty for {warranty}
for the {item} the warranty lasts {warranty}

[core complaint.damaged]
train:
we will send a free replacement for the {item} of order {order} on {date}
a replacement {item} for order {order} leaves on {date} at no cost
you get a new {item} free of charge, sent on {date}, for order {order}
validation:
a free replacement of the {item} in {order} will be shipped on {date}
on {date} we send you a new {item} for {order} without charge
test:
the {item} of {order} is replaced for free and goes out on {date}
your replacement for {order}, free of cost, will be sent on {date}

[core complaint.missing]
train:
we will send the missing {item2} of order {order} on {date}
the {item2} that was left out of order {order} ships on {date}
the missing {item2} for order {order} goes out to you on {date}
validation:
on {date} we send the {item2} that {order} lacked
the {item2} absent from {order} will be shipped on {date}
test:
the forgotten {item2} of {order} will be sent to you on {date}
your missing {item2} from {order} leaves our warehouse on {date}

[core complaint.late]
train:
we refund the shipping fee of {fee} for order {order}
the {fee} for shipping order {order} will be refunded to you
as order {order} was late, you get the {fee} shipping fee back
validation:
you receive the shipping fee of {fee} for {order} back
for the lateness of {order} we return the {fee} shipping charge
test:
the shipping cost of {fee} for {order} will be paid back
we give you back {fee} of shipping for the late {order}

[core small_talk.hello]
train:
it is nice to hear from you, I am doing well
all is well here, this is the assistant of {shop}
I am here and doing fine, a digital assistant of {shop}
good to see you here, I am the shop assistant of {shop}
validation:
I am well, and it is a good day at {shop}
the assistant of {shop} is awake and doing fine
test:
everything is fine here at {shop}, how nice of you to ask
I am here, the digital helper of {shop}, and doing well

[core small_talk.thanks]
train:
it is great to hear that
you are very welcome at {shop}
that is kind of you to say
we are pleased to read that at {shop}
validation:
it is a pleasure to hear that at {shop}
your kind words are good to read
test:
that is very nice to hear at {shop}
you are welcome, we like to read that

[core wrong_premise.status]
train:
order {order} is not {wrongst}; it {clause}
that is not correct: order {order} {clause} and is not {wrongst}
in fact order {order} {clause}, so it is not {wrongst}
validation:
there is a misunderstanding: {order} {clause} and is not {wrongst}
{order} is actually not {wrongst}, it {clause}
test:
purchase {order} is not {wrongst}, in truth it {clause}
this is a mix-up: {order} {clause} rather than being {wrongst}

[core wrong_premise.date]
train:
order {order} is due on {date}, not on {wrong_date}
the correct date for order {order} is {date}, not {wrong_date}
in fact order {order} arrives on {date} and not on {wrong_date}
validation:
it is actually {date} for {order}, not {wrong_date}
there is a misunderstanding: {order} is due on {date}
test:
this is a mix-up: {order} comes on {date} instead of {wrong_date}
our records say {date} for {order}, not {wrong_date}

[core wrong_premise.total]
train:
the total of order {order} is {total}, not {wrong_total}
in fact order {order} came to {total} and not to {wrong_total}
the correct amount for order {order} is {total}, not {wrong_total}
validation:
it is actually {total} for {order}, not {wrong_total}
there is a misunderstanding: {order} comes to {total}
test:
this is a mix-up: {order} is {total} instead of {wrong_total}
our records say {total} for {order}, not {wrong_total}

[core changed_mind.keep]
train:
order {order} stays active and ships on {date}
I keep order {order} as it is, it ships on {date}
order {order} is not cancelled and will be sent on {date}
validation:
{order} goes ahead and is sent on {date}
I leave {order} in place, to be shipped on {date}
test:
purchase {order} continues, it goes out on {date}
{order} remains valid and will be sent on {date}

[core changed_mind.exchange]
train:
I exchange the {item} of order {order} for the {colour2} one
order {order} is now set for an exchange to the {colour2} {item}
you get the {item} in {colour2} in exchange, under order {order}
validation:
I have arranged a swap of the {item} in {order} for a {colour2} one
{order} will be exchanged, and the {colour2} {item} comes to you
test:
purchase {order} is down for an exchange, you get {colour2}
the {item} of {order} is swapped for the {colour2} version

[core changed_mind.credit]
train:
you get {total} as store credit for order {order}
order {order} is paid back as store credit of {total}
I turn the {total} of order {order} into store credit
validation:
{total} of store credit is booked for {order}
I change it to store credit, {total} for {order}
test:
purchase {order} gives you store credit of {total}
your store credit for {order} will be {total}

[core ellipsis.orders]
train:
order {order} {clause}
the {item} from order {order} {clause}
your other order {order} {clause}
I can see that order {order} with the {item} {clause}
as for order {order}, it {clause}
regarding order {order}, our system says that it {clause}
validation:
the remaining one, {order}, {clause}
as to {order}, the {item} {clause}
test:
purchase {order} with the {item} {clause}
turning to {order}, it {clause}

[core ellipsis.price]
train:
the {item} cost {price}
the {item} was {price} in order {order}
for the {item} you paid {price}
the price of the {item} in order {order} was {price}
as for the {item}, it was {price}
we charged {price} for the {item} of order {order}
validation:
the remaining item, the {item}, was {price}
you were charged {price} for the {item}
test:
the {item} stands at {price} in your purchase
{price} was the price of the {item}

[core out_of_scope]
train:
I cannot help with that, I only handle orders, returns and products of {shop}
that is outside what I can do, I answer questions on orders and deliveries at {shop}
this is not something I can advise on, my field is orders, invoices and returns
I am not able to assist with this topic, only with your orders and our products
I am unable to answer that, I am here for orders, delivery and refunds at {shop}
I can only help with shop matters such as orders, invoices and returns
I am not the right one for this, I look after orders and deliveries of {shop}
validation:
such a topic is beyond what I can do, my work is orders and products
I cannot advise on this, but on orders, refunds and invoices I can
this falls outside the shop's service, which covers orders and returns
test:
for this I am not the right contact, I deal with orders and returns at {shop}
I am unable to do that, though orders, products and invoices are my field
my help is limited to orders, deliveries and returns of {shop}

[core improper.privacy]
train:
I cannot share data of other customers, that is private
details of another customer are private and I cannot give them out
for privacy reasons I am not able to share that information
validation:
the data of other people is protected, so I cannot share it
I am not allowed to give out personal details of other customers
test:
I am unable to pass on private data of someone else
other customers' data stays private, I cannot disclose it

[core improper.fake]
train:
I cannot do that, an invoice must show what was really paid
we only issue correct invoices, so I cannot change the facts on one
I am not able to write a false invoice, it must match the real order
validation:
an invoice has to be true, so I cannot alter it
I cannot make up a bill, ours always show the real amount
test:
I am unable to falsify papers, our invoices show the real sum
it is not possible to invent a bill, it must match the real purchase

[core improper.abuse]
train:
I cannot help with insults or threats, let us keep it respectful
I will not write hurtful words, I want to stay respectful to everyone
I am not able to help with anything that hurts other people
validation:
I cannot write something that harms or offends a person
I will not take part in insults, respect matters to us
test:
I am unable to help with hurtful or threatening things
I cannot support anything that would offend or hurt someone

[opening default]
train:
hi {first},
hello {first},
dear {first},
hello and thanks for writing,
thanks for asking, {first}.
thank you for your message, {first}.
thank you for getting in touch.
thanks for checking with us, {first}.
validation:
good day {first},
good day and thanks,
many thanks for your note, {first}.
thank you for the question.
test:
hi there {first},
hi there and thanks,
thank you for reaching out, {first}.
thanks for contacting us.

[opening complaint]
train:
I am so sorry, {first}.
dear {first}, we apologise for this.
sorry about this, {first}.
I am very sorry to hear that.
hello {first}, I am sorry for the trouble.
validation:
my sincere apologies, {first}.
we are truly sorry about that.
test:
please accept our apologies, {first}.
I am deeply sorry for that.

[opening decline]
train:
hi {first},
hello {first},
I understand, {first}.
I am sorry, {first}.
thank you for your message, {first}.
hello and thanks for writing,
validation:
good day {first},
I see what you mean, but sorry.
test:
hi there {first},
sorry about that, {first}.
hi there and sorry,

[opening small_talk]
train:
hi {first},
hello {first},
dear {first},
thank you, {first}.
thank you for your message, {first}.
hello and thank you,
validation:
good day {first},
many thanks, {first}.
good day and thanks,
test:
hi there {first},
thank you kindly, {first}.
hi there and thanks,

[closing default]
train:
please let me know if you need anything else
I am happy to help further
just tell me if I can help with more, I am glad to
please feel free to write again any time
let me know if you need more, and have a lovely day
please just ask if something is unclear
validation:
do get in touch again any time, we are glad to help
I would gladly help with anything else
please ask if more is open
test:
should you need more, please just reply
I remain happy to help
kindly reply here if anything else is open, and enjoy your day

[restate order]
train:
the order contains the {item}
the item concerned is the {item}
it was bought by {name} at {shop}
this refers to the {item} that was ordered by {name}
the parcel is carried by {carrier}, as the order data show
the order total is {total} and the item is the {item}
the entry in the records of {shop} is in the name of {name}
the contents of the order are on record as the {item}
payment was made by {pay} and the total is {total}
validation:
the account for this order belongs to {name} at {shop}
what was bought here is the {item}, as the records of the shop say
the records at {shop} name {name} as the buyer of it
the means of payment was {pay}, on the account of {name}
test:
the {item} is the article in question and was sold by {shop}
the buyer on file at {shop} is {name}
it was paid for with {pay} by {name}
in the files of {shop} this is listed under the name of {name}

[restate product]
train:
it comes in {colour} and is part of the catalogue of {shop}
the colour of this article is {colour}, as shown in the catalogue
this is the information in the catalogue of {shop}
this is what the product page of {shop} says
the same article is made of {material} and comes in {colour}
validation:
its colour is {colour} according to the product sheet
that is what the product sheet of {shop} says about it
test:
in our list the colour is given as {colour}
this data is from the article list of {shop}

[restate scope]
train:
this is the customer desk of {shop} and it is for shop matters
the account in question is that of {name} at {shop}
the desk of {shop} is for orders, returns and invoices
this chat is about what was bought at {shop} by {name}
validation:
this is a service of {shop} for those who buy there
the chat belongs to the desk of {shop} and its buyers
test:
the counter of {shop} is for matters of the shop
this channel is run by {shop} for its own buyers

[tail order]
train:
order number: {order}
this is order {order}
the order number is {order}
validation:
reference: {order}
this is about {order}
test:
purchase number: {order}
for your files: {order}

[bare apology]
train:
sorry about that
I am sorry
we are sorry
validation:
apologies
we regret this and are sorry
test:
sorry for this
our apologies
"""
