/**
 * One open conversation: its tree, the branch shown, and the answer that is being written. Lives on when not shown.
 * The server owns answers under way: this page reads along, comes back after an outage, and asks to stop.
 */
import { ApiError, api, type FeedbackKind, type Id, type Message, type StreamEvent } from './api'
import { choose, merge, path, type Choice } from './tree'
import { kept, ui } from './ui.svelte'

type Stream = AsyncGenerator<StreamEvent>
type Open = (signal: AbortSignal) => Stream

/** What went wrong, and what a button offers to do about it. */
export interface Failure {
  text: string
  offer?: { label: 'shorten' | 'retry'; act: () => void }
}

/** Seconds to wait before each try to reach the server again. */
const TRIES = [0.3, 0.7, 1.5, ...Array<number>(20).fill(3)]
/** Milliseconds that the engine has to notice a stop before the page leaves it alone. */
const STOP_PATIENCE = 4000

const sleep = (seconds: number) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds))
const unreached = (problem: unknown) => !(problem instanceof ApiError) || problem.status === 0

export class Chat {
  /** null until the first message creates the conversation on the server. */
  id = $state<Id | null>(null)
  messages = $state<Message[]>([])
  choice = $state<Choice>({})
  /** The answer being written: 'waiting' until the server says which message it is. */
  writing = $state<Id | 'waiting' | null>(null)
  loading = $state(false)
  loadError = $state('')
  failure = $state<Failure | null>(null)
  #draft = $state('')
  #abort: AbortController | null = null
  #stopping = false
  #pending = ''
  #frame = 0

  shown = $derived(path(this.messages, this.choice))

  constructor(id: Id | null) {
    this.id = id
    this.#draft = kept.get(`draft.${id ?? ''}`) ?? ''
  }

  /** What stands in the composer; kept until it is sent. */
  get draft(): string {
    return this.#draft
  }
  set draft(text: string) {
    this.#draft = text
    kept.set(`draft.${this.id ?? ''}`, text)
  }

  async load() {
    if (this.id === null) return
    this.loading = !this.messages.length
    this.loadError = ''
    try {
      await this.#take()
    } catch (problem) {
      this.loadError = ui.explain(problem)
    } finally {
      this.loading = false
    }
  }

  /** Another window may have gone on with this conversation. */
  async refresh() {
    if (this.id === null || this.loading || this.loadError || this.writing !== null) return
    try {
      await this.#take()
    } catch (problem) {
      if (problem instanceof ApiError && problem.status === 404) this.loadError = ui.explain(problem)
    }
  }

  /** Takes over what the server has, and reads along where it is writing. */
  async #take() {
    if (this.id === null) return
    const { messages, writing } = await api.conversation(this.id)
    const now = writing.at(-1)
    if (this.writing !== null) return // begun meanwhile
    const merged = merge(messages, this.messages)
    if (JSON.stringify(merged) !== JSON.stringify(this.messages)) this.messages = merged
    if (now === undefined) return
    this.writing = now
    void this.#follow((signal) => api.readAlong(now, signal)).catch(() => this.#over())
  }

  /** Where the next question belongs: below the last answer shown (a question that failed gets a sibling). */
  get leaf(): Id | null {
    return this.shown.findLast(({ message }) => message.role !== 'user' && !message.lost)?.message.id ?? null
  }

  /**
   * Sends `text` below `parent`. True once the server has stored it; otherwise it is back in the composer, or with
   * `elsewhere` in the editor that it came from.
   */
  async say(text: string, parent: Id | null = this.leaf, { shorten = false, elsewhere = false } = {}): Promise<boolean> {
    if (!this.#begin()) return false
    const known = this.messages.filter((m) => m.role === 'user' && m.parent_id === parent && !isProvisional(m)).length
    const before = this.choice
    const first = this.id === null
    if (!elsewhere) {
      const provisional: Message = { id: `new-${Date.now()}`, parent_id: parent, role: 'user', content: text }
      this.messages.push(provisional)
      this.choice = choose(this.choice, provisional)
    }
    try {
      const id = this.id ?? (await this.#create())
      await this.#follow((signal) => api.say(id, { content: text, parent_id: parent, known, shorten }, signal))
      return true
    } catch (problem) {
      this.messages = this.messages.filter((m) => !isProvisional(m))
      this.choice = before
      if (first && !unreached(problem)) await this.#uncreate()
      if (!elsewhere) this.draft = this.draft.trim() ? `${text}\n\n${this.draft}` : text
      this.#failed(problem, elsewhere ? '' : ui.t('back_in_composer'), () => {
        const again = elsewhere ? text : this.draft.trim() || text
        if (!elsewhere) this.draft = ''
        void this.say(again, parent, { shorten: true, elsewhere })
      })
      if (problem instanceof ApiError && problem.status !== 0) void this.refresh()
      return false
    }
  }

  /** Another answer beside `answer`. */
  regenerate(answer: Message, shorten = false) {
    this.#ask((signal) => api.regenerate(answer.id, shorten, signal), (shorten) => this.regenerate(answer, shorten))
  }

  /** An answer to a question that has none. */
  answer(question: Message, shorten = false) {
    this.#ask((signal) => api.answer(question.id, shorten, signal), (shorten) => this.answer(question, shorten))
  }

  #ask(open: Open, again: (shorten: boolean) => void) {
    if (!this.#begin()) return
    this.#follow(open).catch((problem) => {
      this.#failed(problem, '', () => again(true))
      if (this.failure) this.failure.offer ??= { label: 'retry', act: () => again(false) }
      void this.refresh()
    })
  }

  async stop() {
    const id = this.writing
    if (id === null || id === 'waiting') {
      this.#stopping = id !== null // as soon as the server says which answer it is
      return
    }
    const abort = this.#abort
    const patience = setTimeout(() => abort?.abort(), STOP_PATIENCE)
    try {
      await api.stop(id)
    } catch (problem) {
      ui.notify(ui.explain(problem), true)
      if (unreached(problem)) abort?.abort() // nothing to wait for
      clearTimeout(patience)
    }
  }

  /** Reads no further; the server goes on. */
  leave() {
    this.#abort?.abort()
  }

  #begin(): boolean {
    if (this.writing !== null) return false
    this.writing = 'waiting'
    this.failure = null
    this.#stopping = false
    return true
  }

  #over() {
    this.#flush()
    this.writing = null
    this.#abort = null
  }

  #failed(problem: unknown, more: string, shorten: () => void) {
    this.#over()
    const text = [ui.explain(problem), more].filter(Boolean).join(' ')
    const outgrown = problem instanceof ApiError && problem.code === 'context_length_exceeded' && problem.param !== 'content'
    this.failure = { text, offer: outgrown ? { label: 'shorten', act: shorten } : undefined }
  }

  async #create(): Promise<Id> {
    const { id } = await api.create()
    kept.set('draft.', '')
    this.id = id
    open.set(String(id), this)
    if (ui.path === '/' && current.chat === this) ui.go(`/?c=${encodeURIComponent(id)}`, true)
    return id
  }

  /** Takes back the conversation that was made for a question which the server then refused. */
  async #uncreate() {
    const id = this.id
    if (id === null) return
    this.id = null
    open.delete(String(id))
    if (current.chat === this) ui.go('/', true)
    await api.remove(id).catch(() => undefined)
    void ui.loadConversations()
  }

  /** Returns when the answer has begun, throws where it does not; reads on behind the caller's back. */
  async #follow(open: Open) {
    const abort = new AbortController()
    this.#abort = abort
    const events = open(abort.signal)
    const first = await events.next()
    if (first.done) throw new ApiError('', 0)
    const over = this.#event(first.value)
    if (this.#stopping) void this.stop()
    if (over) this.#finish()
    else void this.#read(events, abort)
  }

  async #read(events: Stream, abort: AbortController) {
    for (const wait of [0, ...TRIES]) {
      try {
        if (wait) {
          await sleep(wait)
          const id = this.writing
          if (abort.signal.aborted || id === null || id === 'waiting') break
          events = api.readAlong(id, abort.signal)
        }
        for await (const event of events) {
          if (this.failure?.text === ui.t('reconnecting')) this.failure = null
          if (this.#event(event)) return this.#finish()
        }
      } catch (problem) {
        if (!unreached(problem)) break // such as 404: the server died before it stored a word
      }
      if (abort.signal.aborted) break
      this.#flush()
      this.failure = { text: ui.t('reconnecting') }
    }
    if (!abort.signal.aborted) this.failure = { text: ui.t('broken_stream'), offer: { label: 'retry', act: () => void this.#again() } }
    else this.failure = null
    this.#finish()
  }

  #finish() {
    this.#over()
    void this.refresh()
    void ui.loadConversations()
  }

  async #again() {
    this.failure = null
    await this.load()
  }

  /** True at the end of the answer. */
  #event(event: StreamEvent): boolean {
    switch (event.type) {
      case 'start':
        this.#started(event.user, event.answer)
        return false
      case 'delta':
        this.#grow(event.text)
        return false
      case 'done':
        this.#flush()
        if (event.message) this.#put(merge([event.message], this.messages).find((m) => m.id === event.message?.id)!)
        else this.messages = this.messages.filter((m) => m.id !== this.writing)
        return true
      case 'error': {
        this.#flush()
        const written = this.messages.find((m) => m.id === this.writing)
        const question = this.messages.find((m) => m.id === written?.parent_id)
        if (written && !written.content) this.messages = this.messages.filter((m) => m !== written)
        const act = () => (written?.content ? this.regenerate(written) : question && this.answer(question))
        const text = ui.explain(new ApiError(event.message, event.code ? 400 : 500, event.code))
        this.failure = { text, offer: { label: 'retry', act } }
        return true
      }
    }
  }

  #started(question: Message, answer: Message) {
    this.messages = this.messages.filter((m) => !isProvisional(m))
    this.#pending = ''
    this.#put(question)
    this.#put(answer)
    this.writing = answer.id
    void ui.loadConversations()
  }

  /** Adds or replaces a node and shows it. */
  #put(message: Message) {
    const at = this.messages.findIndex((m) => m.id === message.id)
    if (at < 0) this.messages.push(message)
    else this.messages[at] = message
    this.choice = choose(this.choice, message)
  }

  /** Text comes faster than the screen draws: gather it and touch the page once a frame. */
  #grow(text: string) {
    this.#pending += text
    this.#frame ||= requestAnimationFrame(() => this.#flush())
    if (document.hidden) this.#flush() // no frames are drawn then
  }

  #flush() {
    cancelAnimationFrame(this.#frame)
    this.#frame = 0
    const message = this.messages.find((m) => m.id === this.writing)
    if (message && this.#pending) message.content += this.#pending
    this.#pending = ''
  }

  async feedback(message: Message, kind: FeedbackKind, more: { edited?: string; comment?: string } = {}): Promise<boolean> {
    const node = () => this.messages.find((m) => m.id === message.id)
    const before = message.feedback ?? { liked: null, edited: null, comment: '', about_edit: false }
    const target = node()
    if (target && kind !== 'edit' && kind !== 'withdraw') {
      const liked = kind === 'like' ? true : kind === 'dislike' ? false : null
      target.feedback = { ...before, liked, about_edit: before.edited !== null }
    }
    try {
      const { feedback } = await api.feedback(message.id, kind, more)
      const now = node()
      if (now) now.feedback = feedback
      return true
    } catch (problem) {
      const now = node()
      if (now) now.feedback = before
      ui.notify(ui.t('not_saved', { reason: ui.explain(problem) }), true)
      return false
    }
  }

  /** Whether a question waits for an answer that nobody is writing. */
  unanswered(question: Message): boolean {
    return this.writing === null && !isProvisional(question) && !this.messages.some((m) => m.parent_id === question.id && !m.lost)
  }

  show(message: Message) {
    this.choice = choose(this.choice, message)
  }
}

export const isProvisional = (message: Message) => String(message.id).startsWith('new-')

/** Conversations opened in this visit, so that an answer goes on being written while another one is read. */
const open = new Map<string, Chat>()

class Current {
  chat = $state.raw(new Chat(null))

  /** Shows conversation `id`; null shows an empty one. */
  show(id: string | null) {
    if (id === null) {
      if (this.chat.id !== null || this.chat.messages.length) this.chat = new Chat(null)
      return
    }
    if (String(this.chat.id) === id) return
    const known = open.get(id)
    this.chat = known ?? new Chat(id)
    open.set(id, this.chat)
    if (this.chat.writing === null) void this.chat.load()
  }

  forget(id: Id) {
    open.get(String(id))?.leave()
    open.delete(String(id))
    kept.set(`draft.${id}`, '')
  }
}

export const current = new Current()
