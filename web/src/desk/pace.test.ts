import { expect, it } from 'vitest'
import { heights } from './pace'

it('shows that who is always quick has low bars beside the others', () => {
  const slow = [20, 30, null, 20]
  const everybody = [...slow, 1, 1, 1, 1]
  expect(heights([1, 1, 1, 1], everybody)).toEqual([0.05, 0.05, 0.05, 0.05])
  expect(heights(slow, everybody)).toEqual([1, 1, 0, 1])
  expect(heights([5, 5], [5, 5])).toEqual([1, 1])
  expect(heights([null], [null])).toEqual([0])
})
