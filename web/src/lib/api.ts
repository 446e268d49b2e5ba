/** The server's HTTP interface: types and calls. Every failure is an `ApiError` with a message for people. */
import { at as addressOf, below } from './root'
import { events } from './sse'

/** Whose a message is. */
export type Speaker = 'system' | 'user' | 'assistant'
/** What a person may do, each more than the one before. */
export type Role = 'chatter' | 'labeler' | 'manager' | 'admin'
export type Id = string | number
export type Grade = 'good' | 'average' | 'poor'
export type FeedbackKind = 'like' | 'dislike' | 'edit' | 'clear' | 'withdraw'

export interface Config {
  name: string
  language: string
  model: string
  policy_version: string
  version: string
  round: number | string | null
  report: boolean
  max_context: number
  ranking: { tasks: number; ranked: number }
  /** Models that may answer, the promoted one first. */
  models: Served[]
  /** The server's settings of answers. */
  defaults: { system_prompt: string; temperature: number; max_tokens: number }
  /** The workspace's first words to an empty chat, and questions that it offers. */
  greeting: string
  examples: string[]
  /** Whether people sign in. */
  auth?: boolean
  /** Who is signed in; nobody in particular where there are no accounts. */
  me?: { id: string; name: string; role: Role } | null
}

/** What a chat's answers are made by where it is not as the server has it. */
export interface ChatSettings {
  model?: string
  temperature?: number
  max_tokens?: number
  seed?: number
  stop?: string[]
  system_prompt?: string
}

/** Two answers side by side; `models` are told once somebody has chosen. */
export interface Duel {
  question_id: Id
  left_id: Id
  right_id: Id
  choice: Choice | 'off' | null
  models: { left: string; right: string } | null
}
export type Choice = 'left' | 'right' | 'tie' | 'bad'

export interface Served {
  id: string
  version: string
  /** Whatever is promoted, now and later. */
  current: boolean
}

export interface ConversationInfo {
  id: Id
  title: string
  folder: string
  pinned: boolean
  /** ISO 8601, or seconds since 1970. */
  updated: string | number
}

/** A chat that a search found, with the place in the message where it did. */
export interface Hit extends ConversationInfo {
  message_id: Id | null
  role: Speaker | null
  excerpt: { text: string; hit: boolean }[]
}

export interface Share {
  token: string
  last_id: Id
  created: string
  /** Of the page that shows it. */
  path: string
}

export interface Shared {
  title: string
  shared: string
  messages: (Message & { edited: string | null })[]
}

/** Of a message: text, image or citation, in OpenAI's form. */
export interface Part {
  type: string
  text?: string
  url_citation?: { url: string; title: string }
}

export interface Feedback {
  liked: boolean | null
  edited: string | null
  comment: string
  /** What was liked or disliked is the text `edited`, not the model's. */
  about_edit: boolean
}

export interface TrainingRun {
  name: string
  stage: string
  state: 'done' | 'running' | 'stopped'
  /** Seconds since 1970. */
  updated: number
}

export interface TrainingMetrics {
  axis: string
  rows: Record<string, number>[]
  lines: number
}

export interface Message {
  id: Id
  parent_id: Id | null
  role: Speaker
  content: string
  policy_version?: string | null
  finish_reason?: string | null
  /** Of an answer: how many of the earliest messages the model was not shown, for want of room. */
  left_out?: number
  /** Only this page still has it: the server died before it was stored. */
  lost?: boolean
  created?: string | number
  feedback?: Feedback | null
  /** Present where nobody may know yet which model wrote it. */
  blind?: boolean
  parts?: Part[]
}

export interface Conversation {
  id: Id
  title: string
  messages: Message[]
  settings: ChatSettings
  duels: Duel[]
  /** Answers that are being written. */
  writing: Id[]
}

export type StreamEvent =
  /** `answer` holds what is written so far. */
  | { type: 'start'; user: Message; answer: Message }
  | { type: 'delta'; text: string }
  /** null: stopped before the first word. */
  | { type: 'done'; message: Message | null }
  | { type: 'error'; message: string; code: string | null }

export interface Question {
  content: string
  parent_id: Id | null
  /** How many questions this page knows after `parent_id`; with others the server refuses. */
  known: number
  shorten: boolean
}

export interface RankTask {
  id: Id
  messages: { role: Speaker; content: string }[]
  answers: { key: string; text: string }[]
  /** What alone the answers are to be compared by. */
  objective?: string
}

export interface Progress {
  tasks: number
  ranked: number
  mine: number
}

export interface RankVerdict {
  labeler: string
  ranks?: Record<string, number>
  grades?: Record<string, Grade>
  all_bad?: boolean
  flags?: Record<string, string[]>
  skip?: boolean
  seconds?: number
}

export class ApiError extends Error {
  /** HTTP status; 0 where the server was not reached, be it by its proxy. */
  readonly status: number
  readonly code: string | null
  readonly param: string | null
  /** Seconds after which it may be tried again, where the server says so. */
  readonly wait: number
  /** Of `feedback_not_learned`: how many pieces of feedback. */
  readonly records: number

  constructor(message: string, status: number, code: string | null = null, param: string | null = null, wait = 0, records = 0) {
    super(message)
    this.status = status
    this.code = code
    this.param = param
    this.wait = wait
    this.records = records
  }
}

/** Whether the server said nothing: what it did is not known. */
export const unreached = (problem: unknown) => !(problem instanceof ApiError) || problem.status === 0
/** It was not reached, or stops: worth another try. */
export const away = (problem: unknown) => unreached(problem) || (problem as ApiError).status === 503
/** The session is over, and the page goes to where one signs in. */
export const unsigned = (problem: unknown) => problem instanceof ApiError && problem.code === 'not_signed_in'

/** Which tab asks: without accounts the questions of one wait in a line of their own. */
const TAB = Math.random().toString(36).slice(2) || '1'

/** Whether the server has answered somebody here, whose session may end meanwhile. */
let someone = false

async function send(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  let response: Response
  try {
    response = await fetch(addressOf(path), {
      method,
      // a browser asks before it sends this to another site's server: it shows that the request is this page's
      headers: { 'X-Steersman': TAB, ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    })
  } catch (problem) {
    if (signal?.aborted) throw problem
    throw new ApiError('', 0)
  }
  const here = below(location.pathname)
  if (response.ok) {
    someone ||= here !== '/login' // there all may ask
    return response
  }
  const said = (await response.json().catch(() => null))?.error
  if (!said && [502, 503, 504].includes(response.status)) throw new ApiError('', 0)
  if (said?.code === 'not_signed_in' && here !== '/login') {
    const back = encodeURIComponent(here + location.search)
    location.assign(addressOf(`/login?next=${back}${someone ? '&ended=1' : ''}`))
  }
  const wait = Number(response.headers.get('Retry-After')) || 0
  throw new ApiError(String(said?.message ?? response.statusText), response.status, said?.code, said?.param, wait, said?.records)
}

export async function json<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const response = await send(method, path, body, signal)
  return response.status === 204 ? (undefined as T) : ((await response.json().catch(() => undefined)) as T)
}

async function* stream(method: string, path: string, body: unknown, signal: AbortSignal): AsyncGenerator<StreamEvent> {
  const response = await send(method, path, body, signal)
  if (!response.body) throw new ApiError('', 0)
  for await (const data of events(response.body)) {
    if (data === '[DONE]') continue
    yield JSON.parse(data) as StreamEvent
  }
}

const part = encodeURIComponent
const at = (id: Id) => `/api/conversations/${part(id)}`
const message = (id: Id, what: string) => `/api/messages/${part(id)}/${what}`

export const api = {
  config: () => json<Config>('GET', '/api/config'),
  conversations: () => json<ConversationInfo[]>('GET', '/api/conversations'),
  create: (settings: ChatSettings) => json<ConversationInfo>('POST', '/api/conversations', { settings }),
  conversation: (id: Id) => json<Conversation>('GET', at(id)),
  change: (id: Id, what: { title?: string; folder?: string; pinned?: boolean; settings?: ChatSettings }) =>
    json<ConversationInfo & { settings: ChatSettings }>('PATCH', at(id), what),
  words: (data: string) => json<{ text: string; pages: number; unread: number[]; cut: number }>('POST', '/api/attachments', { data }),
  search: (words: string) => json<Hit[]>('GET', `/api/search?q=${part(words)}`),
  exported: (id: Id, form: 'markdown' | 'json', last: Id | null, language: string) =>
    `${at(id)}/export?form=${form}&language=${language}${last === null ? '' : `&last=${part(last)}`}`,
  shares: (id: Id) => json<Share[]>('GET', `${at(id)}/shares`),
  share: (id: Id, last: Id) => json<Share>('POST', `${at(id)}/shares`, { last_id: last }),
  unshare: (id: Id, token: string) => json<unknown>('DELETE', `${at(id)}/shares/${part(token)}`),
  shared: (token: string) => json<Shared>('GET', `/api/shared/${part(token)}`),
  sideBySide: (id: Id, question: Question, models: string[]) =>
    json<{ question: Message; answers: Message[]; duel: Duel }>('POST', `${at(id)}/side-by-side`, { ...question, models }),
  /** `instead`: the choice that this one replaces, or null takes back; 409 where another holds by now. */
  vote: (question: Id, choice: Choice | null, labeler: string | null, seconds: number | null, instead: Choice | null) =>
    json<{ duel: Duel }>('POST', message(question, 'vote'), { choice, labeler, seconds, instead_of: instead }),
  /** `anyway`: also with feedback that no round has learned. */
  remove: (id: Id, anyway = false) => json<unknown>('DELETE', `${at(id)}${anyway ? '?feedback=delete' : ''}`),
  say: (id: Id, question: Question, signal: AbortSignal) => stream('POST', `${at(id)}/messages`, question, signal),
  answer: (question: Id, shorten: boolean, signal: AbortSignal) =>
    stream('POST', message(question, 'answer'), { shorten }, signal),
  regenerate: (answer: Id, shorten: boolean, signal: AbortSignal) =>
    stream('POST', message(answer, 'regenerate'), { shorten }, signal),
  /** The whole of an answer that was cut off, as another one beside it. */
  goOn: (answer: Id, shorten: boolean, signal: AbortSignal) =>
    stream('POST', message(answer, 'continue'), { shorten }, signal),
  /** The rest of an answer that is being written, or its end. */
  readAlong: (answer: Id, signal: AbortSignal) => stream('GET', message(answer, 'stream'), undefined, signal),
  stop: (answer: Id) => json<{ message: Message | null }>('POST', message(answer, 'stop')),
  feedback: (answer: Id, kind: FeedbackKind, more: { edited?: string; comment?: string } = {}) =>
    json<{ feedback: Feedback }>('POST', message(answer, 'feedback'), { kind, ...more }),
  runs: () => json<TrainingRun[]>('GET', '/api/training/runs'),
  metrics: (run: string, after: number) =>
    json<TrainingMetrics>('GET', `/api/training/metrics?run=${part(run)}&after=${after}`),
  nextTask: (labeler: string) =>
    json<{ task: RankTask | null; progress: Progress }>('GET', `/api/rank/next?labeler=${part(labeler)}`),
  rank: (task: Id, verdict: RankVerdict) =>
    json<{ ok: boolean; progress: Progress }>('POST', `/api/rank/${part(task)}`, verdict),
}
