/** What the whole page shares: language, appearance, address, short notices, the server's configuration. */
import { ApiError, api, type Config, type ConversationInfo, type Id } from './api'
import { at, below } from './root'
import { inLanguage } from './said'
import { following, spoken, translate, type Key, type Language } from './i18n'

export type Theme = 'system' | 'light' | 'dark'

/** localStorage may be forbidden or full; the page then only forgets. */
export const kept = {
  get(key: string): string | null {
    try {
      return localStorage.getItem(`steersman.${key}`)
    } catch {
      return null
    }
  },
  /** What has a name that begins so. */
  names(beginning: string): string[] {
    try {
      const names = Object.keys(localStorage).filter((key) => key.startsWith(`steersman.${beginning}`))
      return names.map((key) => key.slice('steersman.'.length))
    } catch {
      return []
    }
  },
  forget(beginning: string) {
    for (const name of kept.names(beginning)) kept.set(name, '')
  },
  set(key: string, value: string) {
    try {
      if (value) localStorage.setItem(`steersman.${key}`, value)
      else localStorage.removeItem(`steersman.${key}`)
    } catch {
      // forgotten at the next visit
    }
  },
}

/** Whether drafts lay here of somebody whose session ended and in whose place another one signed in; they are gone now. */
function ofSomebodyElse(me: string): boolean {
  const was = kept.get('whose')
  kept.set('whose', me)
  if (!was || was === me || !kept.names('draft.').length) return false
  kept.forget('draft.')
  return true
}

/** Errors of accounts. */
const OWN_WORDS: Record<string, Key> = {
  sign_in_refused: 'people_wrong',
  too_many_sign_ins: 'people_too_many',
  weak_password: 'people_weak',
  no_invitation: 'people_no_invitation',
  name_taken: 'people_name_taken',
  not_signed_in: 'people_ended',
  role_too_low: 'people_role_too_low',
  tokens_used_up: 'people_tokens_used_up',
  engine_restarting: 'engine_restarting',
  no_room: 'no_room',
  store_unreachable: 'store_unreachable',
  disk_error: 'disk_error',
  endpoint_failed: 'endpoint_failed',
}

class Ui {
  language = $state<Language>('en')
  theme = $state<Theme>('system')
  path = $state(below(location.pathname))
  query = $state(location.search)
  config = $state<Config | null>(null)
  configError = $state('')
  conversations = $state<ConversationInfo[]>([])
  notice = $state<{ id: number; text: string; bad: boolean } | null>(null)
  #notices = 0
  /** The last model of an answer that made this page look which one is served. */
  #wrote = ''

  constructor() {
    this.#speak(spoken(kept.get('language') ?? navigator.language))
    const theme = kept.get('theme')
    this.#paint(theme === 'light' || theme === 'dark' ? theme : 'system')
    addEventListener('popstate', () => this.#locate())
  }

  t = (key: Key, values?: Record<string, string | number>) => translate(this.language, key, values)

  /** A moment, or its day, as the browser's own region writes it where that speaks the page's language. */
  when(time: string, day = false) {
    const tag = navigator.languages.find((one) => one.split('-')[0] === this.language) ?? this.t('language_tag')
    return new Date(time).toLocaleString(tag, { dateStyle: 'medium', ...(day ? {} : { timeStyle: 'short' }) })
  }

  #speak(language: Language) {
    this.language = language
    document.documentElement.lang = this.t('language_tag')
  }

  /** Each button to switch is written in the language that it leads to. */
  get otherLanguage() {
    return following(this.language)
  }

  switchLanguage() {
    this.#speak(this.otherLanguage)
    kept.set('language', this.language)
  }

  /** The workspace's language, unless the reader has chosen one. */
  follows(language: string) {
    if (!kept.get('language')) this.#speak(spoken(language))
  }

  #paint(theme: Theme) {
    this.theme = theme
    if (theme === 'system') delete document.documentElement.dataset.theme
    else document.documentElement.dataset.theme = theme
  }

  nextTheme() {
    this.#paint(this.theme === 'system' ? 'light' : this.theme === 'light' ? 'dark' : 'system')
    kept.set('theme', this.theme)
  }

  #locate() {
    this.path = below(location.pathname)
    this.query = location.search
  }

  /** Shows another address without loading the page again. */
  go(address: string, replace = false) {
    if (address !== below(location.pathname) + location.search) {
      history[replace ? 'replaceState' : 'pushState'](null, '', at(address))
    }
    this.#locate()
  }

  /** Click handler of a link inside the page; leaves new-tab clicks to the browser. */
  follow = (event: MouseEvent) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || event.button !== 0) return
    event.preventDefault()
    this.go(below((event.currentTarget as HTMLAnchorElement).getAttribute('href') ?? '/'))
  }

  notify(text: string, bad = false) {
    const id = ++this.#notices
    this.notice = { id, text, bad }
    setTimeout(() => this.notice?.id === id && (this.notice = null), bad ? 6000 : 2500)
  }

  /** A failure in words for people, in their language wherever the page knows what it is. */
  explain(problem: unknown): string {
    if (!(problem instanceof ApiError)) return this.t('failed')
    const { status, code } = problem
    if (status === 0) return problem.message || this.t('unreachable')
    if (code === 'context_length_exceeded') {
      const n = this.config?.max_context ?? ''
      return this.t(problem.param === 'content' ? 'too_long' : 'outgrown', { n })
    }
    if (code === 'outdated') return this.t('outdated')
    if (code === 'still_writing') return this.t('still_writing')
    const own = OWN_WORDS[code ?? '']
    if (own) return this.t(own, { n: Math.ceil(problem.wait / 60), time: this.when(new Date(Date.now() + 1000 * problem.wait).toISOString()) })
    if (status === 401) return this.t('locked')
    if (status === 404) return this.t(this.path === '/' ? 'gone' : 'not_there')
    if (status === 413) return this.t('too_large')
    if (status === 429) return this.t('busy', { n: problem.wait || 2 })
    if (status === 503) return this.t('closing')
    if (status >= 500) return this.t('server_failed')
    return this.t('refused', { reason: inLanguage(this.language, problem.message) ?? problem.message })
  }

  async loadConfig() {
    try {
      const config = await api.config()
      if (config.me?.id && ofSomebodyElse(config.me.id)) return location.reload()
      this.config = config
      this.configError = ''
      this.follows(config.language ?? 'en')
    } catch (problem) {
      this.configError = this.explain(problem)
    }
  }

  /** After a promotion: the server answers by the other model once that is loaded. */
  async awaitModel() {
    const before = this.config?.policy_version
    for (const seconds of [0, 1, 2, 3, 5, 10, 20, 30]) {
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds))
      await this.loadConfig()
      if (this.config?.policy_version !== before) return
    }
  }

  /** Which model wrote an answer just now: where it is another than this page knows, one was promoted meanwhile. */
  wroteBy(version: string) {
    if (!this.config || version === this.config.policy_version || version === this.#wrote) return
    this.#wrote = version
    void this.loadConfig()
  }

  /** A list that was asked for before another one says nothing new. */
  #lists = 0
  async loadConversations() {
    const mine = ++this.#lists
    try {
      const found = await api.conversations()
      if (mine === this.#lists) this.conversations = found
    } catch (problem) {
      if (!this.configError) this.notify(this.explain(problem), true)
    }
  }

  titleOf(id: Id | null): string {
    return this.conversations.find((c) => String(c.id) === String(id))?.title || this.t('untitled')
  }
}

export const ui = new Ui()
