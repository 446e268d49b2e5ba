/** Formulas and highlighted code, drawn by libraries that are loaded when a text first needs them. */

type Tools = typeof import('./tools')

class Drawing {
  #tools = $state.raw<Tools | null>(null)
  #asked = false

  /**
   * Replaces the sources of formulas and of code by what they look like. Read inside a template or effect, it runs
   * again once the libraries are there; until then, and where a source is wrong, the source is shown.
   */
  draw(holder: HTMLElement) {
    const found = holder.querySelectorAll<HTMLElement>('code.math, code[class^="language-"]')
    if (!found.length) return
    const tools = this.#tools
    if (!tools) return this.#load()
    for (const element of found) {
      if (element.classList.contains('math')) tools.formula(element)
      else tools.code(element)
    }
  }

  #load() {
    if (this.#asked) return
    this.#asked = true
    import('./tools').then(
      (tools) => (this.#tools = tools),
      () => (this.#asked = false), // not reachable now
    )
  }
}

export const drawing = new Drawing()
