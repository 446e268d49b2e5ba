/** One task in hand: what was said of it so far, whether that is a label, and what is kept of it as a draft. */
import { Sheet, type Mode } from '../lib/ranking.svelte'
import type { Grade } from '../lib/api'
import type { Task, Turn, Value } from './calls'

export class Work {
  readonly task: Task
  readonly sheet: Sheet
  mode = $state<Mode>('rank')
  turns = $state<Turn[]>([])
  text = $state('')
  flags = $state<string[]>([])
  /** Flags were looked at, and none holds. */
  fine = $state(false)
  vote = $state('')
  axes = $state<Record<string, Grade>>({})
  comment = $state('')

  constructor(task: Task, mode: Mode) {
    this.task = task
    this.mode = mode
    // The sheet also keeps the time in sight, whatever the kind.
    this.sheet = new Sheet({ id: task.id, messages: task.messages, answers: task.answers ?? [], objective: task.objective })
    this.turns = task.messages.map((turn) => ({ ...turn }))
    this.text = task.answer ?? ''
    const said = { ...(task.mine?.value ?? {}), answer_flags: task.flags, comment: task.mine?.comment ?? '' }
    this.#fill(Object.keys(task.draft).length ? task.draft : said)
  }

  #fill(from: Value) {
    const value = from as Partial<{
      ranks: Record<string, number>
      grades: Record<string, Grade>
      all_bad: boolean
      answer_flags: Record<string, string[]>
      messages: Turn[]
      text: string
      flags: string[]
      fine: boolean
      vote: string
      axes: Record<string, Grade>
      comment: string
    }>
    if (value.grades && Object.keys(value.grades).length) this.mode = 'grade'
    else if (value.ranks && Object.keys(value.ranks).length) this.mode = 'rank'
    Object.assign(this.sheet.ranks, value.ranks)
    Object.assign(this.sheet.grades, value.grades)
    this.sheet.allBad = value.all_bad ?? false
    Object.assign(this.sheet.flags, value.answer_flags)
    if (value.messages) this.turns = value.messages
    if (value.text !== undefined) this.text = value.text
    if (value.flags) this.flags = value.flags
    this.fine = value.fine ?? (value.flags?.length === 0)
    this.vote = value.vote ?? ''
    this.axes = value.axes ?? {}
    this.comment = value.comment ?? ''
  }

  get ready(): boolean {
    const last = this.turns.at(-1)
    switch (this.task.kind) {
      case 'ranking':
        return this.sheet.ready(this.mode)
      case 'demonstration':
        return last?.role === 'assistant' && this.turns.every((turn) => turn.content.trim())
      case 'edit':
        return Boolean(this.text.trim())
      case 'flag':
        return this.fine || this.flags.length > 0
      case 'vote':
        return Boolean(this.vote)
    }
  }

  /** Of an edit: that the answer still is what the model said. */
  get unchanged(): boolean {
    return this.task.kind === 'edit' && this.text.trim() === (this.task.answer ?? '').trim()
  }

  /** The label as the server takes it. */
  get value(): Value {
    const axes = Object.keys(this.axes).length ? { axes: { ...this.axes } } : {}
    switch (this.task.kind) {
      case 'ranking': {
        const { labeler: _, seconds: __, ...said } = this.sheet.verdict(this.mode, '')
        return said
      }
      case 'demonstration':
        return { messages: this.turns.map((turn) => ({ ...turn })) }
      case 'edit':
        return { text: this.text, ...axes }
      case 'flag':
        return { flags: [...this.flags], ...axes }
      case 'vote':
        return { vote: this.vote, ...axes }
    }
  }

  /** What a reload must bring back; empty where nothing was begun. */
  get draft(): Value {
    const { task, sheet } = this
    const begun: Value = {}
    if (task.kind === 'ranking') {
      if (Object.keys(sheet.ranks).length) begun.ranks = { ...sheet.ranks }
      if (Object.keys(sheet.grades).length) begun.grades = { ...sheet.grades }
      if (sheet.allBad) begun.all_bad = true
      if (Object.keys(sheet.flags).length) begun.answer_flags = { ...sheet.flags }
    } else if (task.kind === 'demonstration') {
      const now = this.turns.map((turn) => ({ ...turn }))
      if (JSON.stringify(now) !== JSON.stringify(task.messages)) begun.messages = now
    } else if (task.kind === 'edit' && this.text !== task.answer) begun.text = this.text
    if (this.flags.length) begun.flags = [...this.flags]
    if (this.fine) begun.fine = true
    if (this.vote) begun.vote = this.vote
    if (Object.keys(this.axes).length) begun.axes = { ...this.axes }
    if (this.comment) begun.comment = this.comment
    return begun
  }
}
