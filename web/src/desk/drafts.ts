/** Unfinished work of the desk: kept here until the server has it, and sent again when it is back. */
import { away } from '../lib/api'
import { kept, ui } from '../lib/ui.svelte'
import { calls, type Value } from './calls'

/** Names are forgotten at signing out, as those of chats' drafts are. */
const place = (who: string, task = '') => `draft.desk.${encodeURIComponent(who)}/${task}`

/** What the server does not have yet of somebody's work on a task. */
export function unsent(who: string, task: string): Value | null {
  const text = kept.get(place(who, task))
  return text === null ? null : (JSON.parse(text) as Value)
}

/** Keeps work here alone: its label is on the way. */
export const hold = (who: string, task: string, draft: Value) => kept.set(place(who, task), JSON.stringify(draft))
export const drop = (who: string, task: string) => kept.set(place(who, task), '')

/** Keeps work with the server, and here for as long as that is away; what it refuses is said. */
export async function keep(who: string, task: string, draft: Value) {
  hold(who, task, draft)
  const mine = kept.get(place(who, task))
  try {
    await calls.draft(who, task, draft)
  } catch (problem) {
    if (away(problem)) return
    ui.notify(ui.t('not_saved', { reason: ui.explain(problem) }), true)
  }
  if (kept.get(place(who, task)) === mine) drop(who, task)
}

/** Sends what the server did not get. */
export async function sendAll(who: string) {
  for (const name of kept.names(place(who))) {
    const task = name.slice(place(who).length)
    await keep(who, task, unsent(who, task)!)
  }
}
