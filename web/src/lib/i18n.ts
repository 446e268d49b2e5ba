/**
 * Every text of the page. A language is a folder of `lang/` with the files that `lang/en` has; what a translator has not
 * written yet is shown in English. `{name}` in a text is replaced; of `{n|day|days}` the word stays that goes with n.
 */
import type chat from '../lang/en/chat.json'
import type people from '../lang/en/people.json'
import type desk from '../lang/en/desk.json'
import type rank from '../lang/en/rank.json'
import type rounds from '../lang/en/rounds.json'
import type shell from '../lang/en/shell.json'
import type training from '../lang/en/training.json'

type Texts = typeof chat & typeof desk & typeof people & typeof rank & typeof rounds & typeof shell & typeof training
export type Key = keyof Texts
/** A folder of `lang/`, such as 'en'; the first two letters of what a browser calls it. */
export type Language = string

const FILES = import.meta.glob<Record<string, string>>('../lang/*/*.json', { eager: true, import: 'default' })
const TABLES: Record<Language, Record<string, string>> = {}
for (const [file, texts] of Object.entries(FILES)) {
  const language = file.split('/').at(-2)!
  TABLES[language] = { ...TABLES[language], ...texts }
}
export const LANGUAGES = Object.keys(TABLES).sort()

/** The language of `wanted` ('zh-TW' is 'zh'), English where there is none. */
export function spoken(wanted: string): Language {
  const language = wanted.slice(0, 2).toLowerCase()
  return language in TABLES ? language : 'en'
}

/** The language that the button beside the others switches to. */
export const following = (language: Language) => LANGUAGES[(LANGUAGES.indexOf(language) + 1) % LANGUAGES.length]!

/** The word for a name that comes from the server, or the name itself where there is none. */
export function known(language: Language, prefix: string, name: string): string {
  return find(language, prefix + name) ?? name
}

/** The language's own word for a name that comes from the server, which may be the same; undefined where there is none. */
export const own = (language: Language, prefix: string, name: string): string | undefined => TABLES[language]?.[prefix + name]

/** The space around a value is for names in Latin letters. */
export const closed = (text: string) => text.replace(/(?<=\p{Script=Han}) (?=\p{Script=Han})/gu, '')

export function translate(language: Language, key: Key, values: Record<string, string | number> = {}): string {
  const said = (find(language, key) ?? key)
    .replace(/\{(\w+)\|([^}]*)\}/g, (_, name: string, words: string) => counted(language, Number(values[name] ?? 2), words.split('|')))
    .replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole))
  return closed(said)
}

const NUMBERS = ['zero', 'one', 'two', 'few', 'many', 'other'] as const
/** The word that goes with a number, of those of the language's plural categories in this order. */
function counted(language: Language, n: number, words: string[]): string {
  const rules = new Intl.PluralRules(language)
  const known = NUMBERS.filter((category) => rules.resolvedOptions().pluralCategories.includes(category))
  return words[known.indexOf(rules.select(n))] ?? words.at(-1)!
}

function find(language: Language, key: string): string | undefined {
  return TABLES[language]?.[key] ?? TABLES.en![key]
}
