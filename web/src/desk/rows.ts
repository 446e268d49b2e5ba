/** Tasks as they are pasted: a JSON list (of prompts or objects), JSON lines, or prompts one a line. Throws SyntaxError. */
export function rows(text: string): unknown[] {
  const list = listed(text)
  if (list) return list.map((one) => (typeof one === 'string' ? { prompt: one } : one))
  if (/^\s*\[\s*\{/.test(text)) throw new SyntaxError('expected a JSON list')
  const lines = text.split('\n').filter((line) => line.trim())
  return lines.map((line) => (line.trim().startsWith('{') ? JSON.parse(line) : { prompt: line.trim() }))
}

/** The list, where the text is one; a prompt may also begin with a bracket. */
function listed(text: string): unknown[] | null {
  if (!text.trim().startsWith('[')) return null
  try {
    return JSON.parse(text) as unknown[]
  } catch {
    return null
  }
}
