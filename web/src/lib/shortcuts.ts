/** Keys of the chat. One table, which the key handler and the help sheet read. */
import type { Key } from './i18n'

export type Action = 'help' | 'fresh' | 'search' | 'write' | 'settings' | 'sidebar' | 'copy' | 'left' | 'right' | 'tie' | 'bad'

interface Shortcut {
  does: Key
  /** What a press does; none where the field or view that has the focus handles it. */
  action?: Action
  /** KeyboardEvent.key, in lower case. */
  key: string
  command?: boolean
  shift?: boolean
  /** Only where answers stand side by side. */
  duel?: boolean
}

export const SHORTCUTS: readonly Shortcut[] = [
  { does: 'key_send', key: 'enter' },
  { does: 'key_line', key: 'enter', shift: true },
  { does: 'key_stop', key: 'escape' },
  { does: 'key_write', action: 'write', key: '/' },
  { does: 'key_search', action: 'search', key: 'k', command: true },
  { does: 'key_new', action: 'fresh', key: 'o', command: true, shift: true },
  { does: 'key_sidebar', action: 'sidebar', key: 's', command: true, shift: true },
  { does: 'key_settings', action: 'settings', key: ',', command: true },
  { does: 'key_copy', action: 'copy', key: ';', command: true, shift: true },
  { does: 'key_left', action: 'left', key: '1', duel: true },
  { does: 'key_right', action: 'right', key: '2', duel: true },
  { does: 'key_tie', action: 'tie', key: '3', duel: true },
  { does: 'key_both_bad', action: 'bad', key: '4', duel: true },
  { does: 'key_help', action: 'help', key: '?' },
]

const SHOWN: Record<string, string> = { enter: 'Enter', escape: 'Esc' }
const APPLE = typeof navigator !== 'undefined' && /Mac|iPhone|iPad/.test(navigator.platform)

export const keysOf = ({ key, command, shift }: Shortcut) =>
  [...(command ? [APPLE ? '⌘' : 'Ctrl'] : []), ...(shift ? [APPLE ? '⇧' : 'Shift'] : []), SHOWN[key] ?? key.toUpperCase()]

/** What the press asks for. Bare keys mean themselves where something is being written. */
export function asked(event: KeyboardEvent, typing: boolean, duel: boolean): Action | undefined {
  const command = event.ctrlKey || event.metaKey
  if (event.altKey || (typing && !command)) return
  const key = event.key.toLowerCase()
  return SHORTCUTS.find(
    (one) =>
      one.action &&
      Boolean(one.command) === command &&
      (one.command ? Boolean(one.shift) === event.shiftKey : true) &&
      // with Shift some keyboards name the other character of the key
      (one.key === key || (one.key === ';' && key === ':')) &&
      (!one.duel || duel),
  )?.action
}
