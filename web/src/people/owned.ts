/** What somebody has, in words: to be read before it is deleted. */
import { ui } from '../lib/ui.svelte'
import type { Owned } from './account'

const COUNTED = ['chats', 'messages', 'feedback', 'rankings', 'labels', 'drafts', 'responses', 'shares', 'keys'] as const

export function toldOwned({ held, not_learned, rounds, handed_back, reopened, unseen }: Owned): string {
  const counts = COUNTED.filter((name) => held[name]).map((name) => ui.t(`people_has_${name}`, { n: held[name] ?? 0 }))
  const told = [counts.join(ui.t('people_comma')) || ui.t('people_has_nothing')]
  if (not_learned) told.push(ui.t('delete_not_learned', { n: not_learned }))
  if (handed_back) told.push(ui.t('people_handed_back', { n: handed_back }))
  if (reopened) told.push(ui.t('people_reopened', { n: reopened }))
  if (rounds.length) told.push(ui.t('people_learned_by', { rounds: rounds.join(ui.t('people_comma')) }))
  if (unseen.length) told.push(ui.t('people_unseen', { n: unseen.length }))
  return told.join(' ')
}
