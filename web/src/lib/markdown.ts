/**
 * Markdown to safe HTML. Models and people wrote the source, so: HTML in it is shown as text, images become links
 * (an image address would tell another server who reads), and DOMPurify has the last word with a short list of tags.
 */
import DOMPurify from 'dompurify'
import { Marked, type Tokens } from 'marked'

export const escape = (text: string) =>
  text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)

const SAFE_ADDRESS = /^(https?:|mailto:)/i

function link(address: string, inner: string): string {
  if (!SAFE_ADDRESS.test(address)) return inner
  return `<a href="${escape(address)}" target="_blank" rel="noopener noreferrer nofollow">${inner}</a>`
}

const marked = new Marked({
  gfm: true,
  breaks: true, // chat answers break lines where they mean to
  renderer: {
    html: (token: Tokens.HTML | Tokens.Tag) => (token.block ? `<p>${escape(token.text)}</p>` : escape(token.text)),
    image: ({ href, text }: Tokens.Image) => link(href, escape(text || href)),
    link({ href, tokens }: Tokens.Link) {
      return link(href, this.parser.parseInline(tokens))
    },
    checkbox: ({ checked }: Tokens.Checkbox) => (checked ? '☑ ' : '☐ '),
  },
})

const ALLOWED = {
  ALLOWED_TAGS: [
    ...['p', 'br', 'strong', 'em', 'del', 'code', 'pre', 'blockquote', 'ul', 'ol', 'li', 'a', 'hr'],
    ...['h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'table', 'thead', 'tbody', 'tr', 'th', 'td'],
  ],
  ALLOWED_ATTR: ['href', 'target', 'rel', 'start', 'align'],
  ALLOWED_URI_REGEXP: SAFE_ADDRESS,
}

/**
 * Cuts the source into top-level blocks. A growing answer changes only its last block, so a page that keys on the
 * blocks redraws little, and what a reader has selected above stays selected.
 */
export function blocks(source: string): string[] {
  return marked
    .lexer(source)
    .filter((token) => token.type !== 'space' && token.type !== 'def')
    .map((token) => token.raw)
}

/** One block (or a whole text) as HTML. Needs a browser's DOM. */
export function render(source: string): string {
  return DOMPurify.sanitize(marked.parse(source, { async: false }), ALLOWED)
}
