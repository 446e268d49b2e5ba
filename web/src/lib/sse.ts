/**
 * Reads `text/event-stream` from a fetch response: yields the payload of each event's `data:` lines.
 *
 * EventSource cannot POST, so the stream is parsed here. Handles events cut at any byte, CRLF, LF and CR line
 * ends, several `data:` lines in one event, and comment lines (pings). Other fields are ignored.
 */
export async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  let rest = ''
  let data: string[] = []
  try {
    for (;;) {
      const { value, done } = await reader.read()
      rest += done ? decoder.decode() + '\n\n' : decoder.decode(value, { stream: true })
      // A CR at the very end may be the first half of a CRLF: leave it for the next piece.
      const held = !done && rest.endsWith('\r') ? '\r' : ''
      const lines = (held ? rest.slice(0, -1) : rest).split(/\r\n|\n|\r/)
      rest = (lines.pop() ?? '') + held
      for (const line of lines) {
        if (line === '') {
          if (data.length) yield data.join('\n')
          data = []
        } else if (line.startsWith('data:')) {
          data.push(line.slice(line[5] === ' ' ? 6 : 5))
        }
      }
      if (done) return
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}
