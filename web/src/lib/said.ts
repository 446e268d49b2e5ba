/**
 * What the server says in English (reasons, conditions of the gate), in the page's language: `said/LANGUAGE.json` holds
 * sentences with {values}, the first that fits is taken; a value called {said} is a sentence itself. What is not there
 * is shown as it is said.
 */
import { closed, translate, type Language } from './i18n'

const FILES = import.meta.glob<Record<string, string>>('../said/*.json', { eager: true, import: 'default' })
const FORMS: Record<Language, [RegExp, string][]> = {}
for (const [file, sentences] of Object.entries(FILES)) {
  FORMS[file.split('/').at(-1)!.replace('.json', '')] = Object.entries(sentences).map(([english, own]) => [form(english), own])
}

function form(english: string): RegExp {
  const parts = english.split(/\{(\w+)\}/)
  return new RegExp(`^${parts.map((part, i) => (i % 2 ? `(?<${part}>.+?)` : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))).join('')}$`, 's')
}

/** The sentence in that language; undefined where nobody has translated it. */
export function inLanguage(language: Language, text: string): string | undefined {
  for (const [pattern, own] of FORMS[language] ?? []) {
    const found = pattern.exec(text)
    if (!found) continue
    const { said } = found.groups ?? {}
    const values: Record<string, string> = { ...found.groups, ...(said ? { said: inLanguage(language, said) ?? said } : {}) }
    for (const name of ['a', 'b', 'against']) if (/^(the )?served model$/.test(values[name] ?? '')) values[name] = translate(language, 'rounds_side_served')
    return closed(own.replace(/\{(\w+)\}/g, (whole, name: string) => values[name] ?? whole))
  }
  return undefined
}
