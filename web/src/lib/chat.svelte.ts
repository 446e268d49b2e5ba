/** One open conversation: its tree, the branch shown, and the answer that is being written. Lives on when not shown. */
import { ApiError, api, type FeedbackKind, type Id, type Message, type StreamEvent } from './api'
import { choose, path, type Choice } from './tree'
import { ui } from './ui.svelte'

type Retry = { text: string; parent: Id | null } | { answer: Id }

export class Chat {
  /** null until the first message creates the conversation on the server. */
  id = $state<Id | null>(null)
  messages = $state<Message[]>([])
  choice = $state<Choice>({})
  /** The answer being written: 'waiting' until the server says which message it is. */
  writing = $state<Id | 'waiting' | null>(null)
  loading = $state(false)
  loadError = $state('')
  error = $state('')
  #retry: Retry | null = null
  #abort: AbortController | null = null
  #pending = ''
  #frame = 0

  shown = $derived(path(this.messages, this.choice))

  constructor(id: Id | null) {
    this.id = id
  }

  async load() {
    if (this.id === null) return
    this.loading = !this.messages.length
    this.loadError = ''
    try {
      this.messages = (await api.conversation(this.id)).messages
    } catch (problem) {
      this.loadError = problem instanceof ApiError && problem.status === 404 ? ui.t('gone') : ui.explain(problem)
    } finally {
      this.loading = false
    }
  }

  /** Where the next question belongs: below the last answer shown (a question that failed gets a sibling). */
  get leaf(): Id | null {
    return this.shown.findLast(({ message }) => message.role !== 'user')?.message.id ?? null
  }

  /** Sends `text` below `parent`. True once it was taken, so that the composer may clear. */
  async say(text: string, parent: Id | null = this.leaf): Promise<boolean> {
    if (this.writing !== null) return false
    this.writing = 'waiting'
    this.error = ''
    const provisional: Message = { id: `new-${Date.now()}`, parent_id: parent, role: 'user', content: text }
    this.messages.push(provisional)
    this.choice = choose(this.choice, provisional)
    if (this.id === null) {
      try {
        const { id } = await api.create()
        this.id = id
        open.set(String(id), this)
        if (ui.path === '/' && current.chat === this) ui.go(`/?c=${encodeURIComponent(id)}`, true)
      } catch (problem) {
        this.messages = []
        this.writing = null
        ui.notify(ui.explain(problem), true)
        return false
      }
    }
    this.#retry = { text, parent }
    const id = this.id
    void this.#follow((signal) => api.say(id, text, parent, signal), parent)
    return true
  }

  regenerate(answer: Message) {
    if (this.writing !== null) return
    this.writing = 'waiting'
    this.error = ''
    this.#retry = { answer: answer.id }
    void this.#follow((signal) => api.regenerate(answer.id, signal), answer.parent_id)
  }

  retry() {
    const again = this.#retry
    if (!again || this.writing !== null) return
    if ('answer' in again) {
      const answer = this.messages.find((m) => m.id === again.answer)
      if (answer) this.regenerate(answer)
      return
    }
    // The server may have kept the question with the part of the answer that came: then answer it again.
    const leaf = this.shown.at(-1)?.message
    const question = this.messages.find((m) => m.id === leaf?.parent_id)
    const kept = leaf?.role === 'assistant' && question?.content === again.text && question.parent_id === again.parent
    if (kept) this.regenerate(leaf)
    else void this.say(again.text, again.parent)
  }

  stop() {
    this.#abort?.abort()
  }

  async #follow(start: (signal: AbortSignal) => AsyncGenerator<StreamEvent>, parent: Id | null) {
    const abort = new AbortController()
    this.#abort = abort
    let finished = false
    try {
      for await (const event of start(abort.signal)) {
        if (event.type === 'start') parent = this.#started(event, parent)
        else if (event.type === 'delta') this.#grow(event.text)
        else if (event.type === 'done') {
          this.#flush()
          this.#put(event.message)
          finished = true
        } else throw new ApiError(event.message, 500)
      }
      if (!finished) throw new ApiError(ui.t('broken_stream'), 0)
      this.#retry = null
    } catch (problem) {
      const said = problem instanceof ApiError // anything else is a stream that broke off
      if (!abort.signal.aborted) this.error = said ? ui.explain(problem) : ui.t('broken_stream')
    }
    this.#flush()
    this.writing = null
    this.#abort = null
    if (!finished) await this.#resync()
    void ui.loadConversations()
  }

  #started(event: StreamEvent & { type: 'start' }, parent: Id | null): Id | null {
    this.messages = this.messages.filter((m) => !isProvisional(m))
    if (event.user) {
      this.#put(event.user)
      parent = event.user.id
    }
    this.#put({ id: event.assistant_id, parent_id: parent, role: 'assistant', content: '' })
    this.writing = event.assistant_id
    void ui.loadConversations()
    return parent
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

  /** After a stop or a failure the server knows what it kept; it needs a moment to notice that we hung up. */
  async #resync() {
    if (this.id === null) return
    await new Promise((resolve) => setTimeout(resolve, 400))
    if (this.writing !== null) return
    try {
      const kept = (await api.conversation(this.id)).messages
      if (this.writing !== null) return
      const ours = this.messages
      this.messages = kept
      // What the server did not keep stays on the page until the next visit: people do not like text to vanish.
      for (const m of ours) {
        const same = kept.find((k) => k.id === m.id || (isProvisional(m) && k.content === m.content))
        const parent = m.parent_id === null || kept.some((k) => k.id === m.parent_id)
        if (!same && parent && m.content && m.role === 'assistant') {
          this.messages.push({ ...m, finish_reason: 'cancelled' })
        } else if (!same && parent && isProvisional(m)) this.messages.push(m)
        else if (same && same.id === m.id && m.content.length > same.content.length) {
          this.messages[kept.indexOf(same)] = { ...same, content: m.content }
        }
      }
    } catch {
      // Not reachable: what is on the page is the best there is.
    }
  }

  async feedback(message: Message, kind: FeedbackKind, more: { edited?: string; comment?: string } = {}): Promise<boolean> {
    const node = () => this.messages.find((m) => m.id === message.id)
    const before = message.feedback ?? { liked: null, edited: null, comment: '' }
    const target = node()
    if (target && kind !== 'edit') {
      target.feedback = { ...before, liked: kind === 'like' ? true : kind === 'dislike' ? false : null }
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
    open.get(String(id))?.stop()
    open.delete(String(id))
  }
}

export const current = new Current()
