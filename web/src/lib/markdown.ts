/**
 * Markdown to safe HTML. Models and people wrote the source, so: HTML in it is shown as text, images become links
 * (an image address would tell another server who reads), and DOMPurify has the last word with a short list of tags.
 * Formulas and code pass it as their source; what draws them then reads text alone.
 */
import DOMPurify, { type Config } from 'dompurify'
import { Marked, Tokenizer, type Tokens } from 'marked'
import markedCjkFriendly from 'marked-cjk-friendly'
import { drawing } from './drawing.svelte'
import { mathematics, withoutFormulas } from './math'

export const escape = (text: string) =>
  text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)

const SAFE_ADDRESS = /^(https?:|mailto:)/i
/** Deeper nesting of quotes and lists than this is shown as it was typed. */
const DEEPEST = 24
/** Where an address ends in Chinese: before its punctuation, and where Han follows Latin letters without a slash. */
const ADDRESS_END =
  /[\u3000-\u303f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65‘’“”…—·]|(?<=[A-Za-z0-9])[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/u

function link(address: string, inner: string): string {
  if (!SAFE_ADDRESS.test(address)) return inner
  return `<a href="${escape(address)}" target="_blank" rel="noopener noreferrer nofollow">${inner}</a>`
}

const cjk = markedCjkFriendly()
const plain = new Tokenizer()
/** What emphasis looks for its end in -> the same from its first delimiter on without formulas, of one parse. */
const masks = new Map<string, string>()
let depth = 0

/** A tokenizer's own rule, up to a depth that no reader follows and no stack minds. */
function nested<T>(rule: (this: Tokenizer, src: string) => T): (this: Tokenizer, src: string) => T | undefined {
  return function (src) {
    if (depth >= DEEPEST) return undefined
    depth += 1
    try {
      return rule.call(this, src)
    } finally {
      depth -= 1
    }
  }
}

const marked = new Marked(cjk, {
  gfm: true,
  breaks: true, // chat answers break lines where they mean to
  extensions: mathematics((tex, display) => `<code class="math${display ? ' display' : ''}">${escape(tex)}</code>`),
  tokenizer: {
    blockquote: nested(plain.blockquote),
    list: nested(plain.list),
    emStrong(src, mask, before) {
      if (src[0] !== '*' && src[0] !== '_') return undefined
      const tail = masks.get(mask) ?? withoutFormulas(src, mask.slice(-src.length))
      masks.set(mask, tail)
      return cjk.tokenizer!.emStrong!.call(this, src, mask.slice(0, -src.length) + tail.slice(-src.length), before)
    },
    del: (src) => (/^~~(?!~)/.test(src) ? false : undefined), // 3~5 days are not struck out
    url(src) {
      return plain.url.call(this, src.slice(0, src.search(ADDRESS_END) >>> 0))
    },
    // "[Note]: keep the receipt" defines nothing; what does, does so outside lists, where sources are listed.
    def(src) {
      const found = this.lexer.state.top ? plain.def.call(this, src) : undefined
      return found && SAFE_ADDRESS.test(found.href) ? found : undefined
    },
  },
  renderer: {
    // Models begin code on the line of the fence: what is no language's name is code and not dropped.
    code({ text, lang = '' }: Tokens.Code) {
      const [, name = '', rest = ''] = /^([\w+#.-]*)\s*(.*)$/.exec(lang) ?? []
      const named = !rest || /^(?:[{[]|\w+=)/.test(rest)
      const language = named && name ? ` class="language-${escape(name)}"` : ''
      return `<pre><code${language}>${escape(named ? text : `${lang}\n${text}`)}\n</code></pre>\n`
    },
    html: (token: Tokens.HTML | Tokens.Tag) => (token.block ? `<p>${escape(token.text)}</p>` : escape(token.text)),
    image: ({ href, text }: Tokens.Image) => link(href, escape(text || href)),
    link({ href, tokens }: Tokens.Link) {
      return link(href, this.parser.parseInline(tokens))
    },
    checkbox: ({ checked }: Tokens.Checkbox) => (checked ? '☑ ' : '☐ '),
  },
})

const OUR_ATTRIBUTES = ['target', 'rel', 'start', 'align', 'class']
const ALLOWED: Config & { RETURN_DOM_FRAGMENT: true } = {
  ALLOWED_TAGS: [
    ...['p', 'br', 'strong', 'em', 'del', 'code', 'pre', 'blockquote', 'ul', 'ol', 'li', 'a', 'hr'],
    ...['h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'table', 'thead', 'tbody', 'tr', 'th', 'td'],
  ],
  ALLOWED_ATTR: ['href', ...OUR_ATTRIBUTES],
  // DOMPurify holds every attribute against the pattern of addresses unless told that it is none.
  ADD_URI_SAFE_ATTR: OUR_ATTRIBUTES,
  ALLOWED_URI_REGEXP: SAFE_ADDRESS,
  RETURN_DOM_FRAGMENT: true,
}

/** A text in its top-level blocks, and the definitions of links that any of them may refer to. */
export interface Blocks {
  parts: string[]
  definitions: string
}

/**
 * Cuts the source into top-level blocks. A growing answer changes only its last block, so a page that keys on the
 * blocks redraws little, and what a reader has selected above stays selected.
 */
export function blocks(source: string): Blocks {
  const parts: string[] = []
  const definitions: string[] = []
  const lower = source.toLowerCase()
  let tokens
  masks.clear()
  try {
    tokens = marked.lexer(source)
  } catch {
    return { parts: [source], definitions: '' } // `render` shows it as it is
  }
  for (const token of tokens) {
    if (token.type === 'space') continue
    if (token.type !== 'def') parts.push(token.raw)
    else if (lower.split(`[${token.tag}]`).length > 2) definitions.push(token.raw)
    else parts.push(token.raw.replace('[', '\\[')) // nobody refers to it, so it is meant to be read
  }
  return { parts, definitions: definitions.join('\n') }
}

function parse(source: string): string {
  masks.clear()
  try {
    return marked.parse(source, { async: false })
  } catch {
    return `<p>${escape(source)}</p>`
  }
}

/** Words on a block of code, in the page's language. */
export interface Labels {
  copy: string
  code: string
}

/** A block of code under its language's name and a button, which the page that shows it gives its meaning. */
function headed(pre: HTMLElement, labels: Labels) {
  const box = document.createElement('div')
  const head = document.createElement('div')
  const name = document.createElement('span')
  const button = document.createElement('button')
  box.className = 'code'
  head.className = 'code-head'
  name.textContent = /language-(\S+)/.exec(pre.firstElementChild?.className ?? '')?.[1] ?? ''
  button.type = 'button'
  button.className = 'secondary'
  button.dataset.copy = ''
  button.textContent = labels.copy
  head.append(name, button)
  pre.replaceWith(box)
  pre.tabIndex = 0
  pre.setAttribute('role', 'group')
  pre.setAttribute('aria-label', [labels.code, name.textContent].filter(Boolean).join(': '))
  box.append(head, pre)
}

/** A table that scrolls by itself where it is wider than the text. */
function scrolling(table: HTMLElement) {
  const box = document.createElement('div')
  box.className = 'scrolling'
  box.tabIndex = 0
  table.replaceWith(box)
  box.append(table)
}

/** That of the first letter. */
export function direction(text: string): 'ltr' | 'rtl' {
  const first = /\p{L}/u.exec(text)?.[0] ?? ''
  return /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u.test(first) ? 'rtl' : 'ltr'
}

/** One block (or a whole text) as HTML. Needs a browser's DOM. */
export function render(source: string, definitions = '', labels: Labels = { copy: 'Copy', code: 'Code' }): string {
  const holder = document.createElement('div')
  holder.append(DOMPurify.sanitize(parse(definitions ? `${source}\n\n${definitions}` : source), ALLOWED))
  for (const block of holder.querySelectorAll<HTMLElement>('p, th, td, h1, h2, h3, h4, h5, h6')) block.dir = 'auto'
  // 'auto' looks past blocks that have a direction of their own, so that lists and quotes would always be left to right
  for (const outer of holder.querySelectorAll<HTMLElement>('ul, ol, blockquote, table')) outer.dir = direction(outer.textContent)
  for (const code of holder.querySelectorAll<HTMLElement>('pre')) {
    code.dir = 'ltr'
    headed(code, labels)
  }
  for (const table of holder.querySelectorAll<HTMLElement>('table')) scrolling(table)
  drawing.draw(holder)
  return holder.innerHTML
}
