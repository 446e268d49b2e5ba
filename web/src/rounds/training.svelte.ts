/** The runs of a workspace and their numbers, asked for again every two seconds while somebody looks. */
import { ApiError, api, type TrainingMetrics, type TrainingRun } from '../lib/api'
import { ui } from '../lib/ui.svelte'

const SHOWN = 8
const EVERY_MS = 2000

export class Training {
  runs = $state<TrainingRun[]>([])
  metrics = $state<Record<string, TrainingMetrics>>({})
  loaded = $state(false)
  failure = $state('')
  stage = $state('')
  /** What somebody ticked or unticked; the newest runs of a stage are shown otherwise. */
  choice = $state<Record<string, boolean>>({})

  stages = $derived([...new Set(this.runs.map((run) => run.stage))])
  /** The stage that wrote last, until another one is chosen. */
  current = $derived(
    this.stages.includes(this.stage) ? this.stage : (this.runs.toSorted((a, b) => b.updated - a.updated)[0]?.stage ?? ''),
  )
  listed = $derived(this.runs.filter((run) => run.stage === this.current))
  #newest = $derived(new Set(this.listed.toSorted((a, b) => b.updated - a.updated).slice(0, SHOWN).map((run) => run.name)))
  shown = $derived(this.listed.filter((run) => this.choice[run.name] ?? this.#newest.has(run.name)))

  #ended = false

  /** Asks until the function that it returns is called. */
  follow(): () => void {
    let timer: ReturnType<typeof setTimeout>
    this.#ended = false
    const again = async () => {
      if (!document.hidden) await this.#ask()
      if (!this.#ended) timer = setTimeout(again, EVERY_MS)
    }
    void again()
    return () => {
      this.#ended = true
      clearTimeout(timer)
    }
  }

  async #ask() {
    try {
      this.runs = await api.runs()
      if (this.#ended) return
      this.loaded = true
      await Promise.all(this.shown.map((run) => this.#more(run)))
      this.failure = ''
    } catch (problem) {
      this.failure = ui.explain(problem)
    }
  }

  async #more(run: TrainingRun) {
    const known = this.metrics[run.name]
    try {
      const news = await api.metrics(run.name, known?.lines ?? 0)
      if (known && news.lines < known.lines) delete this.metrics[run.name] // resumed: its last lines are written anew
      else if (!known) this.metrics[run.name] = news
      else if (news.rows.length) this.metrics[run.name] = { ...known, rows: [...known.rows, ...news.rows], lines: news.lines }
    } catch (problem) {
      // It finished in this moment and has another name now; the next list says which.
      if (!(problem instanceof ApiError && problem.status === 404)) throw problem
    }
  }
}
