/**
 * Where mathematics begins and ends in Markdown: \(…\), \[…\], $…$ and $$…$$. What a price is, is not mathematics:
 * a dollar opens before something that is not a space, after no letter or digit, and closes likewise.
 */
import type { TokenizerAndRendererExtension } from 'marked'

const HAN = String.raw`\p{Script=Han}\u3000-\u303f\uff00-\uffef`
const INLINE = [
  { rule: /^\$\$([^$]{1,4000}?)\$\$/, display: true },
  { rule: /^\\\[([^]{1,4000}?)\\\]/, display: true },
  { rule: /^\\\(([^]{1,4000}?)\\\)/, display: false },
  { rule: /^\$(?![\s$])((?:\\[^]|[^\\$\n`]){1,1000}?)(?<!\s)\$(?![A-Za-z0-9$])/, display: false },
]
const BLOCK = /^ {0,3}(?:\$\$((?:\\[^]|[^\\$]){1,4000}?)\$\$|\\\[([^]{1,4000}?)\\\])[ \t]*(?:\n|$)/
const OPERATOR = /[\\=^_{}<>+*/|]/
const PRICE = new RegExp(String.raw`^\d[\d.,]*\s*(?:[${HAN}]|\p{L}{2})`, 'u')
const REMARK = new RegExp(String.raw`^[\d\s,-]*$|[${HAN}]`, 'u')

/** The formula at the start of `src`, where there is one. `before` is the character in front of it. */
export function formula(src: string, before = ''): { raw: string; tex: string; display: boolean } | undefined {
  for (const { rule, display } of INLINE) {
    const found = rule.exec(src)
    if (!found) continue
    const [raw, tex = ''] = found
    if (!tex.trim()) return
    if (raw[0] === '$' && !display && (/[A-Za-z0-9]/.test(before) || (PRICE.test(tex) && !OPERATOR.test(tex)))) return
    // Brackets escaped by somebody who means brackets: \[1\], \[注意\].
    if (raw.startsWith('\\[') && REMARK.test(tex) && !OPERATOR.test(tex)) return
    return { raw, tex: tex.trim(), display }
  }
}

const START = /\$|\\[([]/

/** `mask` (of the same length) with formulas of `src` blotted out: what stands in them is no emphasis. */
export function withoutFormulas(src: string, mask: string): string {
  let out = ''
  let at = 0
  for (;;) {
    const next = src.slice(at).search(START)
    if (next < 0) return out + mask.slice(at)
    const found = formula(src.slice(at + next), src[at + next - 1])
    out += mask.slice(at, at + next) + (found ? 'a'.repeat(found.raw.length) : mask[at + next])
    at += next + (found?.raw.length ?? 1)
  }
}

/** `show` makes HTML of a formula. */
export function mathematics(show: (tex: string, display: boolean) => string): TokenizerAndRendererExtension[] {
  const renderer = (token: Record<string, unknown>) => show(token.text as string, token.display as boolean)
  return [
    {
      name: 'formulas',
      level: 'block',
      start: (src) => /\n {0,3}(?:\$\$|\\\[)/.exec(src)?.index,
      tokenizer(src) {
        const found = BLOCK.exec(src)
        const tex = (found?.[1] ?? found?.[2] ?? '').trim()
        if (!found || !tex || (REMARK.test(tex) && !OPERATOR.test(tex))) return
        return { type: 'formulas', raw: found[0], text: tex, display: true }
      },
      renderer: (token) => `<p>${renderer(token)}</p>\n`,
    },
    {
      name: 'formula',
      level: 'inline',
      start: (src) => START.exec(src)?.index,
      tokenizer(src, tokens) {
        const found = START.test(src.slice(0, 2)) ? formula(src, tokens.at(-1)?.raw.slice(-1)) : undefined
        return found && { type: 'formula', raw: found.raw, text: found.tex, display: found.display }
      },
      renderer,
    },
  ]
}
