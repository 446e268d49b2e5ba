/** A conversation is a tree: editing a question or regenerating an answer adds a sibling. Pure functions on its nodes. */
import type { Id, Message } from './api'

/** Which child is shown below each node (`ROOT` for the top); where nothing is chosen, the one last talked below. */
export type Choice = Record<string, Id>

export const ROOT = 'root'
const keyOf = (parent: Id | null) => (parent === null ? ROOT : String(parent))

/**
 * Children of `parent` in creation order. A question that was sent again after an error is not shown twice:
 * an unanswered question is left out where a later sibling says the same.
 */
export function children(messages: readonly Message[], parent: Id | null): Message[] {
  const all = messages.filter((m) => (m.parent_id ?? null) === parent)
  return all.filter(
    (m, i) =>
      m.role !== 'user' ||
      !all.slice(i + 1).some((later) => later.role === 'user' && later.content === m.content) ||
      messages.some((child) => child.parent_id === m.id),
  )
}

/** Place in creation order of the newest node at or below each node; nodes come after their parents. */
function newest(messages: readonly Message[]): Map<Id | null, number> {
  const out = new Map<Id | null, number>()
  for (const [i, m] of [...messages.entries()].reverse()) {
    const below = Math.max(i, out.get(m.id) ?? 0)
    out.set(m.id, below)
    out.set(m.parent_id ?? null, Math.max(below, out.get(m.parent_id ?? null) ?? 0))
  }
  return out
}

/** The shown path from the top to a leaf, each node with its siblings. */
export function path(messages: readonly Message[], choice: Choice): { message: Message; siblings: Message[] }[] {
  const out: { message: Message; siblings: Message[] }[] = []
  const age = newest(messages)
  let parent: Id | null = null
  for (;;) {
    const siblings = children(messages, parent)
    const first = siblings[0]
    if (!first) return out
    const latest = siblings.reduce((a, b) => ((age.get(b.id) ?? 0) > (age.get(a.id) ?? 0) ? b : a), first)
    const shown: Message = siblings.find((m) => m.id === choice[keyOf(parent)]) ?? latest
    out.push({ message: shown, siblings })
    parent = shown.id
  }
}

/** The choice that shows `message` among its siblings. */
export function choose(choice: Choice, message: Message): Choice {
  return { ...choice, [keyOf(message.parent_id ?? null)]: message.id }
}

/**
 * The server's messages with what only this page still has: the end of an answer that the server lost when it died,
 * or the whole of one. People do not like text to vanish.
 */
export function merge(theirs: readonly Message[], ours: readonly Message[]): Message[] {
  const out = theirs.map((m) => {
    const mine = ours.find((o) => o.id === m.id)
    const longer = m.finish_reason === 'cancelled' && mine && mine.content.length > m.content.length
    return longer && mine.content.startsWith(m.content) ? { ...m, content: mine.content } : m
  })
  const known = new Set(theirs.map((m) => m.id))
  for (const mine of ours) {
    const lost = mine.role === 'assistant' && mine.content && !known.has(mine.id) && mine.parent_id !== null
    if (lost && known.has(mine.parent_id!)) out.push({ ...mine, finish_reason: 'cancelled', lost: true })
  }
  return out
}
