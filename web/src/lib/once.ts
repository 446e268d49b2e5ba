/** What a form or a button does, once at a time: a second click while the server is asked adds nothing. */
export function once(act: () => Promise<unknown>): (event: Event) => Promise<void> {
  let busy = false
  return async (event) => {
    event.preventDefault()
    if (busy) return
    busy = true
    try {
      await act()
    } finally {
      busy = false
    }
  }
}
