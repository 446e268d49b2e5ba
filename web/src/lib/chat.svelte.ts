/**
 * One open conversation: its tree, the branch shown, and the answer that is being written. Lives on when not shown.
 * The server owns answers under way: this page reads along, comes back after an outage, and asks to stop.
 */
import { ApiError, api, away, unreached, type ChatSettings, type Choice as Vote, type Duel, type FeedbackKind, type Id, type Message, type StreamEvent } from './api'
import { joined, type Attachment } from './attachments'
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

export class Chat {
  /** null until the first message creates the conversation on the server. */
  id = $state<Id | null>(null)
  messages = $state<Message[]>([])
  choice = $state<Choice>({})
  /** The answer being written: 'waiting' until the server says which message it is. */
  writing = $state<Id | 'waiting' | null>(null)
  loading = $state(false)
  /** Settles when the conversation has come, or why it has not is known; until then nobody knows where a question belongs. */
  come: Promise<void> = Promise.resolve()
  loadError = $state('')
  failure = $state<Failure | null>(null)
  settings = $state<ChatSettings>({})
  duels = $state<Duel[]>([])
  /** Files that go with the next question. */
  files = $state<Attachment[]>([])
  #draft = $state('')
  #abort: AbortController | null = null
  #stopping = false
  /** Text that is not drawn yet, of each answer under way. */
  #pending = new Map<Id, string>()
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

  load(): Promise<void> {
    return (this.come = this.#load())
  }
  async #load() {
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
    const { messages, writing, settings, duels } = await api.conversation(this.id)
    const now = writing.at(-1)
    if (this.writing !== null) return // begun meanwhile
    this.settings = settings
    if (JSON.stringify(duels) !== JSON.stringify(this.duels)) this.duels = duels
    const merged = merge(messages, this.messages)
    if (JSON.stringify(merged) !== JSON.stringify(this.messages)) this.messages = merged
    if (now === undefined) return
    const open = this.open
    if (open && writing.includes(open.left_id) && writing.includes(open.right_id)) return void this.#readBoth(open)
    this.writing = now
    void this.#follow((signal) => api.readAlong(now, signal)).catch(() => this.#over())
  }

  /** Where the next question belongs: below the last answer shown (a question that failed gets a sibling). */
  get leaf(): Id | null {
    return this.shown.findLast(({ message }) => message.role !== 'user' && !message.lost)?.message.id ?? null
  }

  /** The answers side by side between which nobody has chosen yet. */
  get open(): Duel | undefined {
    return this.duels.find((duel) => duel.choice === null)
  }

  /** Replaces the settings; those of a chat that is not begun go with its first question. */
  async configure(settings: ChatSettings): Promise<boolean> {
    const before = this.settings
    this.settings = settings
    if (this.id === null) return true
    try {
      this.settings = (await api.change(this.id, { settings })).settings
      return true
    } catch (problem) {
      this.settings = before
      ui.notify(ui.t('not_saved', { reason: ui.explain(problem) }), true)
      return false
    }
  }

  /** Sends `text`, with the files that wait, to two models; true once the server has stored it. */
  async compare(text: string, models: [string, string], parent: Id | null = this.leaf): Promise<boolean> {
    if (!this.#begin()) return false
    const files = this.files
    const first = this.id === null
    const known = this.messages.filter((m) => m.role === 'user' && m.parent_id === parent && !isProvisional(m)).length
    this.files = []
    try {
      const id = this.id ?? (await this.#create())
      const question = { content: joined(text, files), parent_id: parent, known, shorten: false }
      const begun = await api.sideBySide(id, question, models)
      for (const message of [begun.question, ...begun.answers]) this.#put(message)
      this.duels.push(begun.duel)
      void ui.loadConversations()
      void this.#readBoth(begun.duel)
      return true
    } catch (problem) {
      if (first && !unreached(problem)) await this.#uncreate()
      this.draft = this.draft.trim() ? `${text}\n\n${this.draft}` : text
      this.files = [...files, ...this.files]
      this.#failed(problem, ui.t('back_in_composer'), () => undefined)
      if (this.failure) this.failure.offer = undefined
      return false
    }
  }

  async #readBoth(duel: Duel) {
    const abort = new AbortController()
    this.#abort = abort
    this.writing = duel.left_id
    const one = async (id: Id) => {
      for (const wait of [0, ...TRIES]) {
        try {
          if (wait) await sleep(wait)
          if (abort.signal.aborted) return
          for await (const event of api.readAlong(id, abort.signal)) {
            if (this.failure?.text === ui.t('reconnecting')) this.failure = null
            if (event.type === 'start') this.#put(event.answer, false)
            else if (event.type === 'delta') this.#grow(event.text, id)
            else if (event.type === 'done') {
              this.#flush()
              // of one that was whole before this page asked, its end is all that comes
              if (event.message) this.#put(merge([event.message], this.messages).find((m) => m.id === id)!, false)
              return
            }
            else return void (this.failure = { text: ui.explain(new ApiError(event.message, 500, event.code)) })
          }
        } catch (problem) {
          if (!away(problem)) return
        }
        if (abort.signal.aborted) return
        this.#flush()
        this.failure = { text: ui.t('reconnecting') }
      }
      this.failure = { text: ui.t('broken_stream'), offer: { label: 'retry', act: () => void this.#again() } }
    }
    await Promise.all([one(duel.left_id), one(duel.right_id)])
    if (!abort.signal.aborted) this.#finish()
  }

  /**
   * Chooses between the answers of `duel`, also in the place of an earlier choice; null: neither is chosen, and nothing
   * learned. The better one is gone on with.
   */
  async vote(duel: Duel, choice: Vote | null, seconds: number | null): Promise<boolean> {
    const instead = duel.choice === 'off' ? null : duel.choice
    try {
      const told = (await api.vote(duel.question_id, choice, kept.get('labeler'), seconds, instead)).duel
      this.duels = this.duels.map((one) => (one.question_id === told.question_id ? told : one))
      const side = this.messages.find((m) => m.id === (choice === 'right' ? duel.right_id : duel.left_id))
      if (side) this.show(side)
      await this.refresh()
      return true
    } catch (problem) {
      ui.notify(ui.t('not_saved', { reason: ui.explain(problem) }), true)
      void this.refresh()
      return false
    }
  }

  /** Shows the branch with the message, where the chat has it. */
  reveal(id: string): boolean {
    let node = this.messages.find((m) => String(m.id) === id)
    if (!node) return false
    for (; node; node = this.messages.find((m) => m.id === node!.parent_id)) this.choice = choose(this.choice, node)
    return true
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
    const files = elsewhere ? [] : this.files
    const content = joined(text, files)
    if (!elsewhere) {
      this.files = []
      const provisional: Message = { id: `new-${Date.now()}`, parent_id: parent, role: 'user', content }
      this.messages.push(provisional)
      this.choice = choose(this.choice, provisional)
    }
    try {
      const id = this.id ?? (await this.#create())
      await this.#follow((signal) => api.say(id, { content, parent_id: parent, known, shorten }, signal))
      return true
    } catch (problem) {
      this.messages = this.messages.filter((m) => !isProvisional(m))
      this.choice = before
      if (first && !unreached(problem)) await this.#uncreate()
      if (!elsewhere) {
        this.draft = this.draft.trim() ? `${text}\n\n${this.draft}` : text
        this.files = [...files, ...this.files]
      }
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

  /** `answer`, which was cut off or stopped, with its rest: beside it, since what was said of it is of its words. */
  goOn(answer: Message, shorten = false) {
    this.#ask((signal) => api.goOn(answer.id, shorten, signal), (shorten) => this.goOn(answer, shorten))
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
    const both = this.open?.left_id === id ? [id, this.open.right_id] : [id]
    try {
      await Promise.all(both.map((one) => api.stop(one)))
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
    const text = [ui.explain(problem), more].filter(Boolean).join(' ').replace('。 ', '。')
    const outgrown = problem instanceof ApiError && problem.code === 'context_length_exceeded' && problem.param !== 'content'
    this.failure = { text, offer: outgrown ? { label: 'shorten', act: shorten } : undefined }
  }

  async #create(): Promise<Id> {
    const { id } = await api.create($state.snapshot(this.settings))
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
        if (!away(problem)) break // such as 404: the server died before it stored a word
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
        this.#grow(event.text, this.writing)
        return false
      case 'done':
        this.#flush()
        if (event.message?.policy_version && !this.settings.model) ui.wroteBy(event.message.policy_version)
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
    this.#pending.clear()
    this.#put(question)
    this.#put(answer)
    this.writing = answer.id
    void ui.loadConversations()
  }

  /** Adds or replaces a node and shows it. */
  #put(message: Message, show = true) {
    const at = this.messages.findIndex((m) => m.id === message.id)
    if (at < 0) this.messages.push(message)
    else this.messages[at] = message
    if (show) this.choice = choose(this.choice, message)
  }

  /** Text comes faster than the screen draws: gather it and touch the page once a frame. */
  #grow(text: string, id: Id | null) {
    if (id === null) return
    this.#pending.set(id, (this.#pending.get(id) ?? '') + text)
    this.#frame ||= requestAnimationFrame(() => this.#flush())
    if (document.hidden) this.#flush() // no frames are drawn then
  }

  #flush() {
    cancelAnimationFrame(this.#frame)
    this.#frame = 0
    for (const [id, text] of this.#pending) {
      const message = this.messages.find((m) => m.id === id)
      if (message) message.content += text
    }
    this.#pending.clear()
  }

  /** One after the other, as they were said: the last one holds. */
  #said: Promise<unknown> = Promise.resolve()
  feedback(message: Message, kind: FeedbackKind, more: { edited?: string; comment?: string } = {}): Promise<boolean> {
    const now = this.#said.then(() => this.#feedback(message, kind, more))
    this.#said = now
    return now
  }
  async #feedback(message: Message, kind: FeedbackKind, more: { edited?: string; comment?: string }): Promise<boolean> {
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
