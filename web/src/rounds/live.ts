/**
 * What a job says while it runs, in the page's language: parts such as "sft", "step 3/40", "loss 2.31", "ETA 12s",
 * two spaces apart. `whole`: every part has a translation.
 */
import { inLanguage } from '../lib/said'
import { own, translate, type Language } from '../lib/i18n'

export function live(language: Language, line: string): { text: string; whole: boolean } {
  if (language === 'en') return { text: line, whole: true }
  let whole = true
  const parts = line.split('  ').map((part) => {
    const said = translated(language, part)
    whole &&= said !== undefined
    return said ?? part
  })
  return { text: parts.join('  '), whole }
}

function translated(language: Language, part: string): string | undefined {
  const has = (prefix: string, name: string) => own(language, prefix, name)
  const counted = /^([\w ]+?) (\d+(?:\/\d+)?)$/.exec(part)
  const unit = counted && put(has('rounds_unit_', counted[1]!), counted[2]!)
  if (unit) return unit
  const time = /^(ETA|for|in) (\S+)$/.exec(part)
  if (time) return translate(language, time[1] === 'ETA' ? 'rounds_eta' : 'rounds_elapsed', { time: time[2]! })
  const measured = /^(\w+) (-?[\d.]+(?:e[+-]?\d+)?|nan|-?inf)$/.exec(part)
  if (measured) return put(has('metric_', measured[1]!), measured[2]!)
  return has('stage_', part) ?? inLanguage(language, part)
}

const put = (word: string | undefined, value: string) => (word === undefined ? undefined : `${word} ${value}`)
