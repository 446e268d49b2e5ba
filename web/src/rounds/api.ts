/** What the server says of rounds, jobs, data sets and the canary. */
import { json } from '../lib/api'

export interface Interval {
  value: number
  low: number | null
  high: number | null
}
export interface Verdict {
  a: string
  b: string
  a_label: string
  b_label: string
  word: 'better' | 'no evidence' | 'worse'
  n: number
  wins: number
  ties: number
  losses: number
  difference: Interval
  worse: string[]
}
export interface Decided {
  promoted: boolean
  gate: boolean
  candidate: string
  against: string
  time: string
  reasons: string[]
  new: number | null
}
export interface Round {
  round: number
  damage: string
  began: string | null
  start: string | null
  decision: Decided | null
  verdict: Verdict | null
  served: string
  promoted?: string[]
  models: string[]
  report: boolean
}
export interface Gathered {
  rules: Record<string, { records: number; used: number; dropped: Record<string, number> }>
  made: Record<string, { new: number; old: number }>
  new: number
  replaced: number
  thoughts?: number
  disputed?: number
}
/** What a round would learn now, and how many new records open one. */
export interface Preview extends Gathered {
  round: number
  needed: number
}
export interface Check {
  kind: string
  name: string
  held: boolean
  text: string
}
export interface Stage {
  stage: string
  verb: string
  title: string
  /** A job can make it. */
  makes: boolean
  /** Of steersman.toml; '' where it has no settings. */
  section: string
  /** People make it. */
  people: boolean
  state: 'missing' | 'partial' | 'ready' | 'stale' | 'damaged'
  resume: string
  damage: string
  changed: string[]
  created: string | null
  notes: string[]
  told: string
  settings: Record<string, unknown>
}
export interface OneRound extends Round {
  stages: Stage[]
  conditions: (Decided & { checks: Check[]; data: Gathered; start: string; served: string }) | null
  cautions: Record<string, string>[]
}
export interface Job {
  number: number
  stage: string
  round: number
  started: string
  host: string
  state: 'running' | 'stopping' | 'done' | 'failed' | 'cancelled' | 'killed' | 'elsewhere' | 'damaged'
  settings: string[]
  fresh: boolean
  progress: { line: string; unit: string | null; done: number | null; total: number | null; eta: string | null }
  metrics: Record<string, number>
  resume: string
  error: string | null
  exit_code: number | null
  result: Record<string, unknown> | null
}
export type Plain = number | string | boolean
export interface Setting {
  name: string
  value: unknown
  default: unknown
  type: string
  choices: string[]
  low: number | null
  high: number | null
  about: string
  /** It may be changed here. */
  plain: boolean
}
export interface Now {
  started: string
  mark: string
  jobs: Job[]
  more: number
}
export interface Entry {
  round: number
  stage: string
  title?: string
  time?: string
  path?: string
}
export interface Status {
  round: number
  rounds: number[]
  current: Entry | null
  next: string
  stages: { stage: string; state: string }[]
  rankings: { tasks: number; ranked: number; simulated: number }
}
export interface Change {
  now: Entry | null
  next: Entry
  chats: number
  chats_week: number
  canary: string | null
  changed: boolean
  verdict?: Verdict | null
  refusal?: string | null
  doubt?: string | null
  needs?: '' | 'anyway' | 'force'
}
export interface Option {
  set: Record<string, unknown>
  peak_bytes: number
  parts: Record<string, number>
  tokens_per_second: number
  seconds: number | null
  fits: boolean
  trains_less: boolean
}
export interface Plan {
  model: string
  stages: { stage: string; free_bytes: number; data: { documents: number }; chosen: Option | null; options: Option[] }[]
}
export interface Day {
  day: string
  like: number
  dislike: number
  edit: number
  flag: number
  ranking: number
  simulated: number
}
export interface Samples {
  axis: string
  rows: { at: number; samples: { prompt: string; answer: string }[] }[]
}
export interface DataSet {
  name: string
  damage?: string
  kind: string
  split: string
  purpose: string
  count: number
  source: string
  created: string
  simulated: boolean
  languages: Record<string, number>
  skipped: Record<string, number>
  cleaned_from: string | null
  replaced_by: string[]
}
export interface Shown {
  number: number
  id: string
  why?: string
  turns: { role: string; text: string }[]
  answers: { mark: string; text: string }[]
}
export interface Looked extends DataSet {
  users: string[]
  records: Shown[]
  next: number | null
}
export interface CanaryState {
  canary: {
    round: number
    stage: string
    version: string
    served: string
    share: number
    started: string
    decided: { word: string; time: string } | null
    ended: string
    outcome: string
  } | null
  now: { word: string; difference: number; low: number; high: number; likes: number[]; votes: number[] } | null
  answering: boolean
}
export interface Lineage {
  id: string
  answer?: string
  stored: boolean
  version?: string
  model?: string | null
  sources?: {
    round: number
    data: Record<string, string>
    records: { id: string; rule: string; by: string }[]
    unknown: string[]
  }[]
  learned_by: { round: number; learned: boolean; promoted: boolean; records: { id: string; rule: string; why?: string }[] }[]
  models: string[]
}

const part = encodeURIComponent
const query = (values: Record<string, string | number>) => new URLSearchParams(Object.entries(values).map(([k, v]) => [k, String(v)])).toString()

export const rounds = {
  now: () => json<Now>('GET', '/api/rounds/now'),
  status: () => json<Status>('GET', '/api/rounds'),
  all: () => json<{ rounds: Round[] }>('GET', '/api/rounds/all'),
  one: (n: number) => json<OneRound>('GET', `/api/rounds/${n}/stages`),
  feedback: (days: number) => json<{ days: Day[] }>('GET', `/api/rounds/feedback?${query({ days, east: -new Date().getTimezoneOffset() })}`),
  preview: () => json<Preview>('GET', '/api/rounds/preview'),
  plan: (stage = '') => json<Plan>('GET', `/api/rounds/plan?${query({ stage })}`),
  start: (stage: string, fresh = false) => json<Job>('POST', '/api/rounds/jobs', { stage, fresh }),
  settings: (section: string) => json<{ settings: Setting[] }>('GET', `/api/rounds/settings/${part(section)}`),
  change: (section: string, values: Record<string, Plain>) =>
    json<{ settings: Setting[] }>('PUT', `/api/rounds/settings/${part(section)}`, { values }),
  stop: (n: number) => json<Job>('DELETE', `/api/rounds/jobs/${n}`),
  log: (n: number) => json<{ lines: string[] }>('GET', `/api/rounds/jobs/${n}/log`),
  compare: (first: number, second: number) => json<Job>('POST', '/api/rounds/compare', { first, second }),
  promotion: (round: number, stage: string) => json<Change>('GET', `/api/rounds/promotion?${query({ round, stage })}`),
  promote: (round: number, stage: string, needs: string) =>
    json<unknown>('POST', '/api/rounds/promote', { round, stage, anyway: needs === 'anyway', force: needs === 'force' }),
  rollback: () => json<Change>('GET', '/api/rounds/rollback'),
  goBack: () => json<unknown>('POST', '/api/rounds/rollback'),
  lineage: (id: string) => json<Lineage>('GET', `/api/rounds/lineage/${part(id)}`),
  samples: (run: string) => json<Samples>('GET', `/api/training/samples?run=${part(run)}`),
  canary: () => json<CanaryState>('GET', '/api/canary'),
  startCanary: (round: number, share: number, force: boolean) => json<CanaryState>('POST', '/api/canary', { round, share, force }),
  stopCanary: () => json<CanaryState>('DELETE', '/api/canary'),
  promoteCanary: (force: boolean) => json<unknown>('POST', '/api/canary/promote', { force }),
  data: () => json<{ sets: DataSet[]; piece: number; largest: number }>('GET', '/api/data'),
  look: (name: string, start: number, containing: string) =>
    json<Looked>('GET', `/api/data/${part(name)}/records?${query({ start, count: 10, containing })}`),
  dropped: (name: string) => json<{ records: Shown[] }>('GET', `/api/data/${part(name)}/dropped`),
  upload: (name: string, size: number) => json<{ id: string; piece: number }>('POST', '/api/data/uploads', { name, size }),
  piece: (id: string, offset: number, data: string) => json<{ received: number }>('POST', `/api/data/uploads/${id}`, { offset, data }),
  dropUpload: (id: string) => json<unknown>('DELETE', `/api/data/uploads/${id}`),
  importUpload: (id: string, how: { name: string; split: string; kind: string; skip_bad: boolean }) =>
    json<Job>('POST', `/api/data/uploads/${id}/import`, how),
}
