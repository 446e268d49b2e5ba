/**
 * Whether a key belongs to an input method that is composing, so that Enter picks a candidate and sends nothing.
 * Safari ends the composition before the keydown of that Enter; its old key code 229 still tells.
 */
export const composing = (event: KeyboardEvent) => event.isComposing || event.keyCode === 229

/** For fields of a form: the Enter of an input method does not submit it. */
export function keepComposing(event: KeyboardEvent) {
  if (event.key === 'Enter' && composing(event)) event.preventDefault()
}
