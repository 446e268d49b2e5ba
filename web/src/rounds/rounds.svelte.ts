/** What happens in the workspace now, asked for every two seconds while somebody looks; the same in every browser. */
import { ApiError } from '../lib/api'
import { known } from '../lib/i18n'
import { inLanguage } from '../lib/said'
import { ui } from '../lib/ui.svelte'
import { rounds, type Job, type Now, type Verdict } from './api'

const EVERY_MS = 2000
export const ALIVE = ['running', 'stopping']

class Happening {
  now = $state<Now | null>(null)
  failure = $state('')
  /** When the server began again, while this page was open. */
  restarted = $state('')
  /** What else is shown is asked for again when this changes. */
  mark = $derived(this.now?.mark ?? '')
  jobs = $derived(this.now?.jobs ?? [])
  running = $derived<Job | undefined>(this.jobs.find((job) => ALIVE.includes(job.state) && job.stage !== 'import'))

  follow(): () => void {
    let timer: ReturnType<typeof setTimeout>
    let ended = false
    const again = async () => {
      if (!document.hidden) await this.ask()
      if (!ended) timer = setTimeout(again, EVERY_MS)
    }
    void again()
    return () => {
      ended = true
      clearTimeout(timer)
    }
  }

  async ask() {
    try {
      const found = await rounds.now()
      if (this.now && this.now.started !== found.started) this.restarted = found.started
      this.now = found
      this.failure = ''
    } catch (problem) {
      this.failure = told(problem)
    }
  }

  /** Does something, says what went wrong, and looks at once what came of it. */
  async act<T>(what: () => Promise<T>): Promise<T | undefined> {
    try {
      return await what()
    } catch (problem) {
      ui.notify(told(problem), true)
    } finally {
      void this.ask()
    }
  }
}

/** A model by the stage that made it. */
export const named = (stage: string) => known(ui.language, 'rounds_named_', stage)
/** The two models of a comparison, as texts take them. */
export const sides = (verdict: Verdict) => {
  const label = (name: string, said: string) => {
    const own = known(ui.language, 'rounds_side_', name)
    return own === name ? said : own
  }
  return { a: label(verdict.a, verdict.a_label), b: label(verdict.b, verdict.b_label) }
}
/** A failure in words; what was refused, with the server's reason. */
export const told = (problem: unknown) =>
  problem instanceof ApiError && [400, 403, 404, 409].includes(problem.status) && problem.message
    ? ui.t(problem.code === 'workspace' ? 'rounds_not_opened' : 'refused', { reason: inLanguage(ui.language, problem.message) ?? problem.message })
    : ui.explain(problem)

export const happening = new Happening()
export const clock = (time: string | null | undefined) => (time ? ui.when(time) : '')
export const signed = (x: number | null | undefined) => (x === null || x === undefined ? '?' : `${x < 0 ? '−' : '+'}${Math.abs(x).toFixed(3)}`)
