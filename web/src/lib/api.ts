/** The server's HTTP interface: types and calls. Every failure is an `ApiError` with a message for people. */
import { events } from './sse'

export type Language = 'en' | 'zh'
export type Role = 'system' | 'user' | 'assistant'
export type Id = string | number
export type Grade = 'good' | 'average' | 'poor'
export type FeedbackKind = 'like' | 'dislike' | 'edit' | 'clear'

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
}

export interface ConversationInfo {
  id: Id
  title: string
  /** ISO 8601, or seconds since 1970. */
  updated: string | number
}

export interface Feedback {
  liked: boolean | null
  edited: string | null
  comment: string
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
  role: Role
  content: string
  policy_version?: string | null
  finish_reason?: string | null
  created?: string | number
  feedback?: Feedback | null
}

export type StreamEvent =
  | { type: 'start'; user: Message | null; assistant_id: Id }
  | { type: 'delta'; text: string }
  | { type: 'done'; message: Message }
  | { type: 'error'; message: string }

export interface RankTask {
  id: Id
  messages: { role: Role; content: string }[]
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
  skip?: boolean
  seconds?: number
}

export class ApiError extends Error {
  /** HTTP status; 0 where the server was not reached. */
  readonly status: number

  constructor(message: string, status: number) {
    super(message)
    this.status = status
  }
}

async function send(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  let response: Response
  try {
    response = await fetch(path, {
      method,
      headers: body === undefined ? undefined : { 'Content-Type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    })
  } catch (problem) {
    if (signal?.aborted) throw problem
    throw new ApiError('', 0)
  }
  if (response.ok) return response
  const detail = await response.json().catch(() => null)
  throw new ApiError(String(detail?.error?.message ?? response.statusText), response.status)
}

async function json<T>(method: string, path: string, body?: unknown): Promise<T> {
  const response = await send(method, path, body)
  return response.status === 204 ? (undefined as T) : ((await response.json().catch(() => undefined)) as T)
}

async function* stream(path: string, body: unknown, signal: AbortSignal): AsyncGenerator<StreamEvent> {
  const response = await send('POST', path, body, signal)
  if (!response.body) throw new ApiError('', 0)
  for await (const data of events(response.body)) {
    if (data === '[DONE]') continue
    yield JSON.parse(data) as StreamEvent
  }
}

const part = encodeURIComponent
const at = (id: Id) => `/api/conversations/${part(id)}`

export const api = {
  config: () => json<Config>('GET', '/api/config'),
  conversations: () => json<ConversationInfo[]>('GET', '/api/conversations'),
  create: () => json<ConversationInfo>('POST', '/api/conversations', {}),
  conversation: (id: Id) => json<{ id: Id; title: string; messages: Message[] }>('GET', at(id)),
  rename: (id: Id, title: string) => json<unknown>('PATCH', at(id), { title }),
  remove: (id: Id) => json<unknown>('DELETE', at(id)),
  say: (id: Id, content: string, parent_id: Id | null, signal: AbortSignal) =>
    stream(`${at(id)}/messages`, { content, parent_id }, signal),
  regenerate: (message: Id, signal: AbortSignal) => stream(`/api/messages/${part(message)}/regenerate`, {}, signal),
  feedback: (message: Id, kind: FeedbackKind, more: { edited?: string; comment?: string } = {}) =>
    json<{ feedback: Feedback }>('POST', `/api/messages/${part(message)}/feedback`, { kind, ...more }),
  runs: () => json<TrainingRun[]>('GET', '/api/training/runs'),
  metrics: (run: string, after: number) =>
    json<TrainingMetrics>('GET', `/api/training/metrics?run=${part(run)}&after=${after}`),
  nextTask: (labeler: string) =>
    json<{ task: RankTask | null; progress: Progress }>('GET', `/api/rank/next?labeler=${part(labeler)}`),
  rank: (task: Id, verdict: RankVerdict) =>
    json<{ ok: boolean; progress: Progress }>('POST', `/api/rank/${part(task)}`, verdict),
}
