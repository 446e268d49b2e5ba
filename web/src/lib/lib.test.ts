import { describe, expect, it } from 'vitest'
import type { Message } from './api'
import { translate } from './i18n'
import { events } from './sse'
import { children, choose, path } from './tree'

async function read(bytes: Uint8Array, size: number): Promise<string[]> {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (let i = 0; i < bytes.length; i += size) controller.enqueue(bytes.slice(i, i + size))
      controller.close()
    },
  })
  const out: string[] = []
  for await (const data of events(body)) out.push(data)
  return out
}

describe('events', () => {
  const text = ': ping\r\n\r\ndata: {"a":"你好 👋"}\r\n\r\nevent: x\ndata:one\ndata: two\n\n:\n\rdata: cr\r\rdata: last'
  const expected = ['{"a":"你好 👋"}', 'one\ntwo', 'cr', 'last']
  for (const size of [1, 2, 3, 5, 1000]) {
    it(`reads the same events from pieces of ${size} bytes`, async () => {
      expect(await read(new TextEncoder().encode(text), size)).toEqual(expected)
    })
  }
})

describe('tree', () => {
  const node = (id: string, parent_id: string | null, content = id): Message => ({
    id,
    parent_id,
    content,
    role: id.startsWith('u') ? 'user' : 'assistant',
  })
  const tree = [node('u1', null), node('a1', 'u1'), node('a2', 'u1'), node('u2', 'a1'), node('a3', 'u2')]
  const ids = (choice = {}) => path(tree, choice).map(({ message }) => message.id)

  it('shows the branch that was talked in last, and the chosen one where one is chosen', () => {
    expect(ids()).toEqual(['u1', 'a1', 'u2', 'a3'])
    expect(ids(choose({}, tree[2]!))).toEqual(['u1', 'a2'])
    expect(path(tree.slice(0, 3), {}).map(({ message }) => message.id)).toEqual(['u1', 'a2'])
    expect(path([], {})).toEqual([])
  })
  it('ignores a choice that no longer exists', () => {
    expect(ids({ u1: 'gone' })).toEqual(['u1', 'a1', 'u2', 'a3'])
  })
  it('hides an unanswered question that was asked again', () => {
    const again = [node('u1', null, 'same'), node('u2', null, 'same'), node('u3', null, 'other')]
    expect(children(again, null).map((m) => m.id)).toEqual(['u2', 'u3'])
    expect(children([...again, node('a1', 'u1')], null).map((m) => m.id)).toEqual(['u1', 'u2', 'u3'])
  })
})

describe('translate', () => {
  it('fills in values and keeps what is unknown', () => {
    expect(translate('en', 'progress', { ranked: 2, tasks: 5 })).toBe('2 of 5 ranked')
    expect(translate('zh', 'waiting', {})).toContain('{n}')
  })
})
