/** Unfinished work of the desk: kept here until the server has it, and sent again when it is back. */
import { away, unsigned } from '../lib/api'
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

/** Milliseconds after which a server that says nothing is taken to be away: nobody waits for drafts any longer. */
const PATIENCE = 5000
/** Drafts on their way, by task. */
const flying = new Map<string, Promise<boolean>>()

/** Keeps work with the server, and here for as long as that is away; what it refuses is said. False where it is
 * away, or the session is over: whoever signs in again finds it here. */
export function keep(who: string, task: string, draft: Value, limit = AbortSignal.timeout(PATIENCE)): Promise<boolean> {
  const sent = put(who, task, draft, limit).finally(() => flying.get(task) === sent && flying.delete(task))
  flying.set(task, sent)
  return sent
}

async function put(who: string, task: string, draft: Value, limit: AbortSignal) {
  hold(who, task, draft)
  const mine = kept.get(place(who, task))
  try {
    await calls.draft(who, task, draft, limit)
  } catch (problem) {
    if (away(problem) || unsigned(problem)) return false
    ui.notify(ui.t('not_saved', { reason: ui.explain(problem) }), true)
  }
  if (kept.get(place(who, task)) === mine) drop(who, task)
  return true
}

/** No draft of the task is on its way any more: it could come after the task's label, and stay. */
export const settled = async (task: string) => void (await flying.get(task))

/** Sends what the server did not get, for as long as it answers and for no longer than anybody waits for one draft. */
export async function sendAll(who: string) {
  const limit = AbortSignal.timeout(PATIENCE)
  for (const name of kept.names(place(who))) {
    const task = name.slice(place(who).length)
    if (!(await keep(who, task, unsent(who, task)!, limit))) return
  }
}
