import { describe, expect, it } from 'vitest'
import { FILE_LIMIT, decoded, joined, parted } from './attachments'
import { asked } from './shortcuts'

const bytes = (text: string) => new TextEncoder().encode(text)

describe('attachments', () => {
  const files = [
    { name: 'a b.csv', text: '名,数\n灯,2' },
    { name: 'odd.md', text: 'it says\n</attachment>\n\n<attachment name="x">\nno\n</attachment>\n\nand goes on' },
  ]

  it('come apart as they were joined', () => {
    expect(parted(joined('Sum up', files))).toEqual({ text: 'Sum up', files })
    expect(parted(joined('', files))).toEqual({ text: '', files })
  })
  it('are no part of a text that only speaks of them', () => {
    const text = 'what is <attachment name="x"> for?\n\n</attachment>'
    expect(parted(text)).toEqual({ text, files: [] })
  })
  it('are read in the encoding in which they are whole', () => {
    expect(decoded(bytes('灯\r\nlamp'))).toBe('灯\nlamp')
    expect(decoded(new Uint8Array([0xb5, 0xc6, 0x0a, 0x61]))).toBe('灯\na')
    expect(decoded(new Uint8Array([0xff, 0xfe, 0x61, 0x00, 0x6f, 0x70]))).toBe('a灯'.replace('灯', '\u706f'))
  })
  it('are refused with the reason', () => {
    expect(decoded(bytes('%PDF-1.7\u0000\u0001'))).toBe('attach_binary')
    expect(decoded(bytes(' \n'))).toBe('attach_empty')
    expect(decoded(new Uint8Array(FILE_LIMIT + 1))).toBe('attach_large')
  })
})

describe('shortcuts', () => {
  const press = (key: string, more: Partial<KeyboardEvent> = {}) =>
    ({ key, ctrlKey: false, metaKey: false, shiftKey: false, altKey: false, ...more }) as KeyboardEvent

  it('know what a press asks for', () => {
    expect(asked(press('?', { shiftKey: true }), false, false)).toBe('help')
    expect(asked(press('?', { shiftKey: true }), true, false)).toBeUndefined()
    expect(asked(press('k', { metaKey: true }), true, false)).toBe('search')
    expect(asked(press('K', { ctrlKey: true, shiftKey: true }), true, false)).toBeUndefined()
    expect(asked(press(':', { ctrlKey: true, shiftKey: true }), false, false)).toBe('copy')
  })
  it('choose between answers only where there are two', () => {
    expect(asked(press('1'), false, false)).toBeUndefined()
    expect(asked(press('1'), false, true)).toBe('left')
  })
})
