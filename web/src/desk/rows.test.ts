import { expect, it } from 'vitest'
import { rows } from './rows'

it('reads what is pasted as a list, as lines of JSON and as prompts', () => {
  const two = [{ prompt: 'A lamp?' }, { prompt: '到了吗？', answer: '到了' }]
  expect(rows(` ${JSON.stringify(two, null, 2)}\n`)).toEqual(two)
  expect(rows(two.map((one) => JSON.stringify(one)).join('\r\n'))).toEqual(two)
  expect(rows('A lamp?\n\n [1] what is that?\n')).toEqual([{ prompt: 'A lamp?' }, { prompt: '[1] what is that?' }])
  expect(rows('["A lamp?", "to ["]')).toEqual([{ prompt: 'A lamp?' }, { prompt: 'to [' }])
  expect(rows('[{"prompt": "A"}, 5]')).toEqual([{ prompt: 'A' }, 5]) // which the server refuses, by its number
  expect(rows('[urgent] a lamp?')).toEqual([{ prompt: '[urgent] a lamp?' }])
})

it('takes nothing for prompts that was to be JSON', () => {
  expect(() => rows('[{"prompt": "A"},]')).toThrow(SyntaxError)
  expect(() => rows('{"prompt": "A"')).toThrow(SyntaxError)
})
