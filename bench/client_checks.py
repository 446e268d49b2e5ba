# ruff: noqa: E501
"""What `clients.py` asks of programs and libraries that build on OpenAI's API: Python by client and feature, where URL
and MODEL are set before, each with a head that makes its client."""

from __future__ import annotations

HI = "M=[{'role':'user','content':'Hi'}]; "
ANSWER = "from pydantic import BaseModel\nclass A(BaseModel, extra='forbid'): ok: bool\n"
INSTRUCTOR = (
    ANSWER
    + HI
    + """
import instructor, openai
def ask(mode, **more): return instructor.from_openai(openai.OpenAI(base_url=URL+'/v1',api_key='k',max_retries=0), mode=mode).create(model=MODEL,response_model=A,messages=M,max_retries=0,**more)
"""
)
PYDANTIC_AI = (
    ANSWER
    + """
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
P = OpenAIProvider(base_url=URL+'/v1', api_key='k')
def agent(kind=OpenAIChatModel, tokens=40, **more): return Agent(kind(MODEL, provider=P), model_settings={'max_tokens': tokens}, retries=0, **more)
"""
)
AGENTS = (
    ANSWER
    + """
import asyncio
from openai import AsyncOpenAI
from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
set_tracing_disabled(True); C = AsyncOpenAI(base_url=URL+'/v1', api_key='k', max_retries=0)
@function_tool
def f(city: str) -> str: return 'rain'
def agent(kind=OpenAIChatCompletionsModel, tokens=8, **more): return Agent(name='a', instructions='Be kind.', model=kind(MODEL, C), model_settings=ModelSettings(max_tokens=tokens), **more)
"""
)
HAYSTACK = """
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import Tool
from haystack.utils import Secret
T = Tool('f', 'd', {'type': 'object', 'properties': {'city': {'type': 'string'}}, 'required': ['city']}, lambda city: 'rain')
K = Secret.from_token('k')
def ask(call=None, **more): return OpenAIChatGenerator(api_key=K, api_base_url=URL+'/v1', model=MODEL, generation_kwargs={'max_tokens': 40} | more.pop('how', {}), max_retries=0, streaming_callback=call, **more).run([ChatMessage.from_user('Hi')])['replies'][0]
"""
KERNEL = """
import asyncio
from openai import AsyncOpenAI
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion, OpenAIChatPromptExecutionSettings, OpenAITextEmbedding
from semantic_kernel.contents import ChatHistory
C = AsyncOpenAI(base_url=URL+'/v1', api_key='k', max_retries=0)
S = OpenAIChatCompletion(ai_model_id=MODEL, async_client=C); H = ChatHistory(system_message='Be kind.'); H.add_user_message('Hi')
def how(**more): return OpenAIChatPromptExecutionSettings(max_tokens=40, **more)
"""
DSPY = """
import dspy
def lm(**more): return dspy.LM('openai/'+MODEL, api_base=URL+'/v1', api_key='k', max_tokens=40, cache=False, num_retries=0, **more)
"""
GUIDANCE = """
import guidance
lm = guidance.models.OpenAI(MODEL, base_url=URL+'/v1', api_key='k', echo=False)
with guidance.user(): lm += 'Hi'
"""
OUTLINES = ANSWER + (
    "import openai, outlines; from typing import Literal; c=outlines.from_openai(openai.OpenAI(base_url=URL+'/v1',api_key='k',max_retries=0),MODEL); "
    "v=outlines.from_vllm(openai.OpenAI(base_url=URL+'/v1',api_key='k',max_retries=0),MODEL)\n"
)
SMOL = "from smolagents import OpenAIModel, ChatMessage; c=OpenAIModel(model_id=MODEL,api_base=URL+'/v1',api_key='k',max_tokens=8); M=[ChatMessage(role='user',content=[{'type':'text','text':'Hi'}])]\n"
AGNO = (
    ANSWER
    + """
from agno.agent import Agent
from agno.models.openai.like import OpenAILike
def f(city: str) -> str:
    "Weather of a city."
    return 'rain'
def agent(tokens=8, **more): return Agent(model=OpenAILike(id=MODEL, base_url=URL+'/v1', api_key='k', max_tokens=tokens), telemetry=False, **more)
"""
)
CLAUDE = "from langchain_anthropic import ChatAnthropic; from langchain_core.messages import HumanMessage; c=ChatAnthropic(base_url=URL,api_key='k',model=MODEL,max_tokens=8); "
AUTOGEN = (
    ANSWER
    + """
import asyncio
from autogen_core.models import UserMessage
from autogen_core.tools import FunctionTool
from autogen_ext.models.openai import OpenAIChatCompletionClient
C = OpenAIChatCompletionClient(model=MODEL, base_url=URL+'/v1', api_key='k', max_retries=0, max_tokens=40, model_info=dict(vision=False, function_calling=True, json_output=True, family='unknown', structured_output=True))
M = [UserMessage(content='Hi', source='user')]
def f(city: str) -> str: return 'rain'
T = [FunctionTool(f, description='d')]
"""
)
MISTRAL = """
try: from mistralai import Mistral
except ImportError: from mistralai.client import Mistral
c = Mistral(api_key='k', server_url=URL); M = [{'role': 'user', 'content': 'Hi'}]
"""
HUB = "from huggingface_hub import InferenceClient; c=InferenceClient(base_url=URL+'/v1',api_key='k'); M=[{'role':'user','content':'Hi'}]\n"
TOOLS = "[{'type':'function','function':{'name':'f','description':'d','parameters':{'type':'object','properties':{'city':{'enum':['Ulm','Bonn']}},'required':['city'],'additionalProperties':False}}}]"
SCHEMA = "{'type':'object','properties':{'a':{'type':'boolean'}},'required':['a'],'additionalProperties':False}"

LIBRARIES: dict[str, dict[str, str]] = {
    "instructor": {
        "tools": INSTRUCTOR + "ask(instructor.Mode.TOOLS,max_tokens=60)",
        "JSON schema": INSTRUCTOR + "ask(instructor.Mode.JSON_SCHEMA,max_tokens=40)",
        "responses": INSTRUCTOR + "ask(instructor.Mode.RESPONSES_TOOLS,max_output_tokens=60)",
    },
    "pydantic-ai": {
        "chat": PYDANTIC_AI + "assert agent().run_sync('Hi').output",
        "stream": PYDANTIC_AI
        + "import asyncio\nasync def go():\n async with agent().run_stream('Hi') as r:\n  assert [x async for x in r.stream_text(delta=True)]\nasyncio.run(go())",
        "tools": PYDANTIC_AI + "a=agent()\n@a.tool_plain\ndef f(city: str) -> str: return 'rain'\na.run_sync('Hi')",
        "forced tool": PYDANTIC_AI + "assert agent(tokens=80,output_type=A).run_sync('Hi').output.ok in (True,False)",
        "JSON schema": PYDANTIC_AI + "agent(output_type=NativeOutput(A)).run_sync('Hi').output.ok",
        "responses": PYDANTIC_AI + "assert agent(OpenAIResponsesModel).run_sync('Hi').output",
    },
    "OpenAI Agents SDK": {
        "chat": AGENTS + "assert Runner.run_sync(agent(), 'Hi').final_output",
        "stream": AGENTS
        + "async def go():\n r=Runner.run_streamed(agent(),'Hi')\n assert [e async for e in r.stream_events()]\nasyncio.run(go())",
        "tools": AGENTS + "Runner.run_sync(agent(tools=[f]), 'Hi')",
        "JSON schema": AGENTS
        + "assert Runner.run_sync(agent(tokens=40,output_type=A),'Hi').final_output.ok in (True,False)",
        "responses": AGENTS + "assert Runner.run_sync(agent(OpenAIResponsesModel, tools=[f]), 'Hi').new_items",
    },
    "Haystack": {
        "chat": HAYSTACK + "assert ask().text",
        "stream": HAYSTACK + "seen=[]; ask(seen.append); assert seen",
        "tools": HAYSTACK + "ask(tools=[T])",
        "forced tool": HAYSTACK + "assert ask(tools=[T],how={'tool_choice':'required','max_tokens':80}).tool_calls",
        "JSON schema": HAYSTACK
        + f"import json; json.loads(ask(how={{'response_format':{{'type':'json_schema','json_schema':{{'name':'a','schema':{SCHEMA}}}}}}}).text)",
        "embeddings": HAYSTACK
        + "from haystack.components.embedders import OpenAITextEmbedder as E; assert E(api_key=K,api_base_url=URL+'/v1',model=MODEL).run('a')['embedding']",
    },
    "Semantic Kernel": {
        "chat": KERNEL + "assert str(asyncio.run(S.get_chat_message_content(H, how())))",
        "stream": KERNEL
        + "async def go(): assert [m async for m in S.get_streaming_chat_message_content(H, how())]\nasyncio.run(go())",
        "JSON schema": KERNEL
        + "from pydantic import BaseModel\nclass A(BaseModel): ok: bool\nA.model_validate_json(str(asyncio.run(S.get_chat_message_content(H, how(response_format=A)))))",
        "embeddings": KERNEL
        + "assert len(asyncio.run(OpenAITextEmbedding(ai_model_id=MODEL,async_client=C).generate_embeddings(['a','b'])))==2",
    },
    "DSPy": {
        "chat": DSPY + "assert lm()('Hi')[0]",
        "completions": DSPY + "assert lm(model_type='text')('Once')[0]",
        "responses": DSPY + "assert lm(model_type='responses')('Hi')[0]",
    },
    "smolagents": {
        "chat": SMOL + "assert c.generate(M).content",
        "stream": SMOL + "assert ''.join(d.content or '' for d in c.generate_stream(M))",
    },
    "Agno": {
        "chat": AGNO + "assert agent().run('Hi').content",
        "stream": AGNO + "assert [e for e in agent().run('Hi', stream=True)]",
        "tools": AGNO + "agent(tools=[f]).run('Hi')",
        "JSON schema": AGNO + "assert isinstance(agent(40, output_schema=A).run('Hi').content, A)",
    },
    "langchain-anthropic": {
        "chat": CLAUDE + "assert c.invoke('Hi').content",
        "stream": CLAUDE + "assert ''.join(str(e.content) for e in c.stream('Hi'))",
        "tools": CLAUDE + f"c.bind_tools({TOOLS}).invoke('Hi')",
        "forced tool": CLAUDE.replace("max_tokens=8", "max_tokens=80")
        + f"assert c.bind_tools({TOOLS},tool_choice='any').invoke('Hi').tool_calls",
        "count tokens": CLAUDE + "assert c.get_num_tokens_from_messages([HumanMessage('Hi')])>0",
    },
    "guidance": {
        "chat": GUIDANCE + "with guidance.assistant(): lm += guidance.gen('a', max_tokens=8)\nassert lm['a']",
        "JSON schema": GUIDANCE
        + f"with guidance.assistant(): lm += guidance.json('a', schema={SCHEMA}, max_tokens=40)\nimport json; json.loads(lm['a'])",
    },
    "Outlines": {
        "chat": OUTLINES + "assert c('Hi', max_tokens=8)",
        "stream": OUTLINES + "assert ''.join(c.stream('Hi', max_tokens=8))",
        "JSON schema": OUTLINES
        + "A.model_validate_json(c('Hi', A, max_tokens=40)); A.model_validate_json(v('Hi', A, max_tokens=40)); assert v('Hi', Literal['yes','no']) in ('yes','no')",
    },
    "AutoGen": {
        "chat": AUTOGEN + "assert asyncio.run(C.create(M)).content",
        "stream": AUTOGEN + "async def go(): assert [e async for e in C.create_stream(M)]\nasyncio.run(go())",
        "tools": AUTOGEN + "asyncio.run(C.create(M, tools=T))",
        "forced tool": AUTOGEN
        + "assert not isinstance(asyncio.run(C.create(M, tools=T, tool_choice='required', extra_create_args={'max_tokens': 200})).content, str)",
        "JSON schema": AUTOGEN + "A.model_validate_json(asyncio.run(C.create(M, json_output=A)).content)",
    },
    "mistralai": {
        "models": MISTRAL + "assert MODEL in [m.id for m in c.models.list().data]",
        "chat": MISTRAL
        + "assert c.chat.complete(model=MODEL,messages=M,max_tokens=8,random_seed=3).choices[0].message.content",
        "stream": MISTRAL
        + "assert ''.join(e.data.choices[0].delta.content or '' for e in c.chat.stream(model=MODEL,messages=M,max_tokens=8) if e.data.choices)",
        "tools": MISTRAL + f"c.chat.complete(model=MODEL,messages=M,max_tokens=8,tools={TOOLS})",
        "forced tool": MISTRAL
        + f"assert c.chat.complete(model=MODEL,messages=M,max_tokens=80,tools={TOOLS},tool_choice='any').choices[0].message.tool_calls",
        "JSON schema": MISTRAL
        + f"import json; json.loads(c.chat.complete(model=MODEL,messages=M,max_tokens=100,response_format={{'type':'json_schema','json_schema':{{'name':'a','schema':{SCHEMA},'strict':True}}}}).choices[0].message.content)",
        "embeddings": MISTRAL + "assert len(c.embeddings.create(model=MODEL,inputs=['a','b']).data)==2",
    },
    "huggingface_hub": {
        "chat": HUB + "assert c.chat_completion(M,model=MODEL,max_tokens=8).choices[0].message.content",
        "stream": HUB
        + "assert ''.join(e.choices[0].delta.content or '' for e in c.chat_completion(M,model=MODEL,max_tokens=8,stream=True))",
        "tools": HUB + f"c.chat_completion(M,model=MODEL,max_tokens=8,tools={TOOLS},tool_choice='auto')",
        "JSON schema": HUB
        + f"import json; json.loads(c.chat_completion(M,model=MODEL,max_tokens=40,response_format={{'type':'json_schema','json_schema':{{'name':'a','schema':{SCHEMA}}}}}).choices[0].message.content)",
    },
}
"""The client's own way to a typed answer or a forced call is taken, whatever it makes of it: a class, an option."""

NODE_HEADS = {
    "Vercel AI SDK (compatible)": "import {generateText,streamText,Output,tool,embedMany} from 'ai'; import {createOpenAICompatible} from '@ai-sdk/openai-compatible'; import {z} from 'zod'; const p=createOpenAICompatible({name:'ours',baseURL:URL_+'/v1',apiKey:'k',supportsStructuredOutputs:true,includeUsage:true}); const K={model:p(MODEL),prompt:'Hi',maxRetries:0}; const T={f:tool({description:'d',inputSchema:z.object({city:z.enum(['Ulm','Bonn'])})})};",
    "Vercel AI SDK (openai)": "import {generateText,streamText,Output,tool} from 'ai'; import {createOpenAI} from '@ai-sdk/openai'; import {z} from 'zod'; const p=createOpenAI({baseURL:URL_+'/v1',apiKey:'k'}); const K={model:p.chat(MODEL),prompt:'Hi',maxRetries:0}; const T={f:tool({description:'d',inputSchema:z.object({city:z.enum(['Ulm','Bonn'])})})};",
    "LangChain (Node)": "import {ChatOpenAI,OpenAIEmbeddings} from '@langchain/openai'; import {z} from 'zod'; const O={model:MODEL,apiKey:'k',maxRetries:0,configuration:{baseURL:URL_+'/v1'}}; const c=new ChatOpenAI({...O,maxTokens:8}), long=new ChatOpenAI({...O,maxTokens:60}); const T=[{type:'function',function:{name:'f',description:'d',parameters:{type:'object',properties:{city:{enum:['Ulm','Bonn']}},required:['city'],additionalProperties:false}}}];",
    "OpenAI Agents SDK (Node)": "import OpenAI from 'openai'; import {Agent,run,tool,OpenAIChatCompletionsModel,OpenAIResponsesModel,setTracingDisabled} from '@openai/agents'; import {z} from 'zod'; setTracingDisabled(true); const C=new OpenAI({baseURL:URL_+'/v1',apiKey:'k',maxRetries:0}); const f=tool({name:'f',description:'d',parameters:z.object({city:z.string()}),execute:async()=>'rain'}); const agent=(Kind,maxTokens,more)=>new Agent({name:'a',instructions:'Be kind.',model:new Kind(C,MODEL),modelSettings:{maxTokens},...more});",
    "LlamaIndex (Node)": "import {OpenAI,OpenAIEmbedding} from '@llamaindex/openai'; const c=new OpenAI({model:MODEL,apiKey:'k',baseURL:URL_+'/v1',maxTokens:8,maxRetries:0});",
}
_OR_FAIL = "||process.exit(1);"
_STREAMED = "let t=''; for await (const e of streamText({...K,maxOutputTokens:8}).textStream) t+=e; t" + _OR_FAIL
_TYPED = (
    "const r=await generateText({...K,maxOutputTokens:40,output:Output.object({schema:z.object({ok:z.boolean()})})}); typeof r.output.ok==='boolean'"
    + _OR_FAIL
)
_FORCED = (
    "const r=await generateText({...K,maxOutputTokens:80,tools:T,toolChoice:'required'}); r.toolCalls.length" + _OR_FAIL
)
_VERCEL = {
    "chat": "(await generateText({...K,maxOutputTokens:8})).text" + _OR_FAIL,
    "stream": _STREAMED,
    "tools": "await generateText({...K,maxOutputTokens:8,tools:T})",
    "forced tool": _FORCED,
    "JSON schema": _TYPED,
}
NODE_LIBRARIES: dict[str, dict[str, str]] = {
    "Vercel AI SDK (compatible)": _VERCEL
    | {
        "embeddings": "(await embedMany({model:p.embeddingModel(MODEL),values:['a','b']})).embeddings.length===2"
        + _OR_FAIL
    },
    "Vercel AI SDK (openai)": _VERCEL
    | {"responses": "(await generateText({...K,model:p.responses(MODEL),maxOutputTokens:16})).text" + _OR_FAIL},
    "LangChain (Node)": {
        "chat": "(await c.invoke('Hi')).content" + _OR_FAIL,
        "stream": "let t=''; for await (const e of await c.stream('Hi')) t+=e.content; t" + _OR_FAIL,
        "tools": "await c.bindTools(T).invoke('Hi')",
        "forced tool": "(await long.bindTools(T,{tool_choice:'required'}).invoke('Hi')).tool_calls.length" + _OR_FAIL,
        "JSON schema": "typeof (await long.withStructuredOutput(z.object({ok:z.boolean()}),{method:'jsonSchema',name:'a'}).invoke('Hi')).ok==='boolean'"
        + _OR_FAIL,
        "responses": "(await new ChatOpenAI({...O,maxTokens:16,useResponsesApi:true}).invoke('Hi')).content.length"
        + _OR_FAIL,
        "embeddings": "(await new OpenAIEmbeddings(O).embedQuery('a')).length" + _OR_FAIL,
    },
    "OpenAI Agents SDK (Node)": {
        "chat": "(await run(agent(OpenAIChatCompletionsModel,8),'Hi')).finalOutput" + _OR_FAIL,
        "stream": "let n=0; for await (const e of await run(agent(OpenAIChatCompletionsModel,8),'Hi',{stream:true})) n++; n"
        + _OR_FAIL,
        "tools": "await run(agent(OpenAIChatCompletionsModel,8,{tools:[f]}),'Hi')",
        "JSON schema": "typeof (await run(agent(OpenAIChatCompletionsModel,40,{outputType:z.object({ok:z.boolean()})}),'Hi')).finalOutput.ok==='boolean'"
        + _OR_FAIL,
        "responses": "(await run(agent(OpenAIResponsesModel,16,{tools:[f]}),'Hi')).newItems.length" + _OR_FAIL,
    },
    "LlamaIndex (Node)": {
        "chat": "(await c.chat({messages:[{role:'user',content:'Hi'}]})).message.content" + _OR_FAIL,
        "stream": "let t=''; for await (const e of await c.chat({messages:[{role:'user',content:'Hi'}],stream:true})) t+=e.delta; t"
        + _OR_FAIL,
        "embeddings": "(await new OpenAIEmbedding({model:MODEL,apiKey:'k',baseURL:URL_+'/v1'}).getTextEmbedding('a')).length"
        + _OR_FAIL,
    },
}
