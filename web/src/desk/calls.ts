/** The labeling desk's HTTP interface. Without accounts the server takes the name typed on the page as who labels. */
import { json, type Speaker } from '../lib/api'

export const KINDS = ['ranking', 'demonstration', 'edit', 'flag', 'vote'] as const
export type Kind = (typeof KINDS)[number]
export const FLAGS = ['harmful', 'wrong', 'off-topic', 'private'] as const
export const AXES = ['intent', 'constraint', 'fitness'] as const

export interface Turn {
  role: Speaker
  content: string
  /** Of an assistant's turn: written by the person, suggested by the model, or suggested and changed. */
  origin?: 'written' | 'suggested' | 'changed'
}
export type Value = Record<string, unknown>

export interface Label {
  id: string
  task: string
  kind: Kind
  said: 'label' | 'bad_prompt' | 'skip'
  value: Value | null
  comment: string
  guidelines: string
  created: string
  by: string
}
export interface History {
  labels: (Label & { prompt: string })[]
  all: number
}
export interface Task {
  id: string
  kind: Kind
  messages: Turn[]
  brief: string
  answer?: string
  answers?: { key: string; text: string }[]
  objective?: string
  /** Of a ranking that is changed: what one said is wrong with single answers, by key. */
  flags?: Record<string, string[]>
  draft: Value
  mine: Label | null
  expires: string
}
export type Queues = Record<Kind, { tasks: number; waiting: number }>
export interface Home {
  queues: Queues
  drafts: { task: string; kind: Kind; prompt: string; updated: string }[]
  guidelines: { hash: string; read: boolean; changed: boolean }
}
export interface Guidelines {
  hash: string
  text: string
  read: boolean
  changes: [string, string][]
}
export interface Given {
  said: 'label' | 'bad_prompt' | 'skip'
  value?: Value
  comment: string
  guidelines: string
  seconds: number
}
export interface Measured {
  value: number | null
  low: number | null
  high: number | null
  units: number
  /** Of two people: who always says the same, so that kappa measures nothing: '', 'a', 'b' or 'ab'. */
  constant: string
}
export type Pair = { kind: Kind; a: string; b: string; judge: boolean } & Measured
export interface Labeler {
  name: string
  labels: number
  skipped: number
  bad_prompts: number
  seconds: number | null
  gold: number
  right: number
  low: number | null
  high: number | null
  blocks: { from: string; labels: number; seconds: number | null; agreed: number; compared: number }[]
  drift: '' | 'slower' | 'faster' | 'less_agreement' | 'more_agreement'
  guidelines: string
}
export interface Team {
  labelers: Labeler[]
  agreement: Partial<Record<Kind, Measured>>
  pairs: Pair[]
  undecided: number
  names: Record<string, string>
  progress: Partial<Record<Kind, { tasks: number; done: number; labels: number }>>
  guidelines: string
  assigned: { name: string; tasks: number; missing: boolean }[]
}
export interface Overview {
  id: string
  kind: Kind
  prompt: string
  assigned: string[]
  labels: number
  gold: boolean
  closed: boolean
  unsure: number | null
}
export interface Difference {
  task: Task
  strength: number
  labels: Label[]
}

const part = encodeURIComponent
const at = (task: string, what = '') => `/api/desk/tasks/${part(task)}${what}`
const by = (labeler: string) => (labeler ? `?labeler=${part(labeler)}` : '')

export const calls = {
  home: (labeler: string) => json<Home>('GET', `/api/desk${by(labeler)}`),
  guidelines: (labeler: string) => json<Guidelines>('GET', `/api/desk/guidelines${by(labeler)}`),
  haveRead: (labeler: string, guidelines: string) => json<unknown>('POST', '/api/desk/guidelines/read', { labeler, guidelines }),
  /** `before`: the version that was changed; 409 where it is no longer the present one. */
  write: (text: string, before: string) => json<{ hash: string }>('PUT', '/api/desk/guidelines', { text, before }),
  next: (labeler: string, kind: Kind) => json<{ task: Task | null; guidelines: string; queues: Queues }>('POST', '/api/desk/next', { labeler, kind }),
  task: (labeler: string, task: string) => json<{ task: Task; guidelines: string }>('GET', at(task) + by(labeler)),
  renew: (labeler: string, task: string) => json<unknown>('POST', at(task, '/lease'), { labeler }),
  draft: (labeler: string, task: string, value: Value, signal: AbortSignal) =>
    json<unknown>('PUT', at(task, '/draft'), { labeler, value }, signal),
  suggest: (labeler: string, task: string, messages: Turn[]) =>
    json<{ text: string; policy_version: string }>('POST', at(task, '/suggest'), {
      labeler,
      messages: messages.map(({ role, content }) => ({ role, content })),
    }),
  label: (labeler: string, task: string, given: Given) => json<{ queues: Queues; replaced: boolean }>('POST', at(task, '/label'), { labeler, ...given }),
  /** The newest labels; `all`: how many there are. */
  history: (labeler: string) => json<History>('GET', `/api/desk/history${by(labeler)}`),
  team: () => json<Team>('GET', '/api/desk/team'),
  /** A page of tasks from `after` on; `next` is where the next one begins, null at the end. */
  tasks: (kind: Kind | '', after = 0) =>
    json<{ tasks: Overview[]; names: Record<string, string>; next: number | null }>('GET', `/api/desk/tasks?after=${after}${kind ? `&kind=${kind}` : ''}`),
  add: (rows: unknown[], kind: Kind | '', assign: string[], overlap: number) =>
    json<{ new: Partial<Record<Kind, number>>; known: number; ignored: Record<string, number> }>('POST', '/api/desk/tasks', {
      rows,
      ...(kind ? { kind } : {}),
      assign,
      overlap,
    }),
  assign: (tasks: string[], to: string[]) => json<{ assigned: number }>('POST', '/api/desk/assign', { tasks, to }),
  handOver: (of: string, to: string[]) => json<{ assigned: number }>('POST', '/api/desk/assign', { of, to }),
  differences: (labeler: string) => json<{ differences: Difference[]; all: number; names: Record<string, string> }>('GET', `/api/desk/differences${by(labeler)}`),
  decide: (labeler: string, task: string, body: Partial<Given> & { choose?: string }) => json<unknown>('POST', at(task, '/decision'), { labeler, ...body }),
}
