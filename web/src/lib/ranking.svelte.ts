/** One ranking task as the labeler sees it: what was assigned so far, and what may be submitted. */
import type { Grade, RankTask, RankVerdict } from './api'

export const GRADES: readonly Grade[] = ['good', 'average', 'poor']
/** What may be wrong with a single answer, with the key for it. */
export const PROBLEMS = { h: 'harmful', w: 'wrong', o: 'off-topic', p: 'private' } as const
export type Mode = 'rank' | 'grade'

/** A, B, C … in the order shown; says nothing of where an answer came from. */
export const letter = (index: number) => String.fromCharCode(65 + index)

export class Sheet {
  readonly task: RankTask
  ranks = $state<Record<string, number>>({})
  grades = $state<Record<string, Grade>>({})
  /** Key -> what is wrong with the answer; an empty list where that was taken back. */
  flags = $state<Record<string, string[]>>({})
  allBad = $state(false)
  selected = $state(0)
  /** Milliseconds that the task was in sight. */
  #spent = 0
  #since: number | null

  constructor(task: RankTask) {
    this.task = task
    this.#since = document.hidden ? null : performance.now()
  }

  /** Call when the page is hidden or shown: only time in sight counts. */
  visible(shown: boolean) {
    if (shown) this.#since ??= performance.now()
    else if (this.#since !== null) {
      this.#spent += performance.now() - this.#since
      this.#since = null
    }
  }

  get seconds(): number {
    const now = this.#since === null ? 0 : performance.now() - this.#since
    return Math.round((this.#spent + now) / 100) / 10
  }

  given(mode: Mode): Record<string, number | Grade> {
    return mode === 'rank' ? this.ranks : this.grades
  }

  missing(mode: Mode): number {
    return this.task.answers.filter(({ key }) => !(key in this.given(mode))).length
  }

  /** Everything has a rank or grade; or "all bad" was ticked and no order was begun. */
  ready(mode: Mode): boolean {
    const missing = this.missing(mode)
    return missing === 0 || (this.allBad && missing === this.task.answers.length)
  }

  assign(key: string, value: number | Grade) {
    if (typeof value === 'number') this.ranks[key] = value
    else this.grades[key] = value
  }

  clear(key: string, mode: Mode) {
    if (mode === 'rank') delete this.ranks[key]
    else delete this.grades[key]
  }

  flag(key: string, flag: string) {
    if (!this.task.answers.find((answer) => answer.key === key)?.text.trim()) return // there is nothing to be wrong
    const now = this.flags[key] ?? []
    this.flags[key] = now.includes(flag) ? now.filter((other) => other !== flag) : [...now, flag]
  }

  /** A key pressed for the selected answer: whether it was one of `PROBLEMS`. */
  flagKey(name: string): boolean {
    const flag = PROBLEMS[name as keyof typeof PROBLEMS]
    const answer = this.task.answers[this.selected]
    if (!flag || !answer) return false
    this.flag(answer.key, flag)
    return true
  }

  /** Selects the next answer that has nothing assigned, if there is one. */
  advance(mode: Mode) {
    const n = this.task.answers.length
    for (let step = 1; step <= n; step++) {
      const i = (this.selected + step) % n
      if (!(this.task.answers[i]!.key in this.given(mode))) return void (this.selected = i)
    }
  }

  /** Kept as it was said: "all bad" without an order is sent without one. */
  verdict(mode: Mode, labeler: string): RankVerdict {
    const ordered = this.missing(mode) === 0
    const said = !ordered ? {} : mode === 'rank' ? { ranks: { ...this.ranks } } : { grades: { ...this.grades } }
    const flags = Object.keys(this.flags).length ? { flags: { ...this.flags } } : {}
    return { labeler, ...said, ...flags, all_bad: this.allBad, seconds: this.seconds }
  }
}
