import { describe, expect, it } from 'vitest'
import type { Message } from './api'
import { charts, extent, points, short, thin, ticks, type Point, type Rows } from './curves'
import { LANGUAGES, following, spoken, translate } from './i18n'
import { events } from './sse'
import { children, choose, merge, path } from './tree'

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
  it('says one change and two changes', () => {
    const said = [0, 1, 2].map((n) => translate('en', 'rounds_settings_save', { n }))
    expect(said).toEqual(['Save 0 changes', 'Save 1 change', 'Save 2 changes'])
    expect(translate('zh', 'rounds_settings_save', { n: 1 })).toBe('保存 1 处改动')
    expect(translate('en', 'left_out', { n: 1 })).toContain('first 1 message: it')
  })
  it('finds a language by what browsers call it, and English where there is none', () => {
    expect(['zh-TW', 'EN-gb', 'xx', ''].map(spoken)).toEqual(['zh', 'en', 'en', 'en'])
    expect(new Set(LANGUAGES.map(following))).toEqual(new Set(LANGUAGES))
  })
})

describe('curves', () => {
  const rows: Rows = [{ step: 1, loss: 3, zeal: 1 }, { step: 2, loss: 2, eval_loss: 2.5 }, { step: 3, eval_loss: 2, eval_loss_before: 4 }]
  it('puts held-out numbers into the chart of the others, the most telling first', () => {
    expect(charts([rows, [{ step: 1, kl: 0.1 }]], new Set(['step']))).toEqual(['loss', 'kl', 'zeal'])
    expect(points(rows, 'step', 'eval_loss')).toEqual([[2, 2.5], [3, 2]])
  })
  it('thins by means of blocks', () => {
    const line = Array.from({ length: 10 }, (_, i): Point => [i, 2 * i])
    expect(thin(line, 5)).toEqual([[0.5, 1], [2.5, 5], [4.5, 9], [6.5, 13], [8.5, 17]])
    expect(thin(line, 10)).toBe(line)
  })
  it('chooses round ticks inside the range and gives a flat line room', () => {
    expect(ticks(0, 100)).toEqual([0, 50, 100])
    expect(ticks(0.13, 0.57)).toEqual([0.2, 0.4])
    expect(ticks(3, 3)).toEqual([3])
    expect(extent([[[1, 2], [4, 2]]])).toEqual({ x: [1, 4], y: [1.8, 2.2] })
    expect(extent([[]])).toBeNull()
    expect([short(0.000012), short(1234567), short(0.123456), short(0)]).toEqual(['1.2e-5', '1.2e6', '0.1235', '0'])
  })
})

describe('merge', () => {
  const node = (id: string, parent_id: string | null, content: string, finish_reason: string | null = null): Message => ({
    id, parent_id, content, finish_reason, role: id.startsWith('u') ? 'user' : 'assistant',
  })
  it('keeps what only the page has: the end of an answer, or the whole of one', () => {
    const theirs = [node('u1', null, 'q'), node('a1', 'u1', 'Hel', 'cancelled')]
    const ours = [node('u1', null, 'q'), node('a1', 'u1', 'Hello'), node('a2', 'u1', 'lost'), node('a3', 'u9', 'gone')]
    expect(merge(theirs, ours).map((m) => [m.id, m.content, m.lost ?? false])).toEqual([
      ['u1', 'q', false], ['a1', 'Hello', false], ['a2', 'lost', true],
    ])
    expect(merge([node('a1', 'u1', 'Other', 'stop')], ours)[0]?.content).toBe('Other')
  })
})
