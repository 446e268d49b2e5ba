import { expect, it } from 'vitest'
import { live } from './live'

it('says what a job does in the language, part by part', () => {
  const line = 'ppo  iteration 2/6  reward -0.31  kl 1.2e-3  ETA 1m05s  held-out answers  prompt 3/40  for 4s'
  expect(live('en', line)).toEqual({ text: line, whole: true })
  expect(live('zh', line)).toEqual({
    text: 'PPO  迭代 2/6  奖励 -0.31  相对 SFT 的 KL（nats／回答） 1.2e-3  大约还需 1m05s  留出提示的回答  提示 3/40  已用 4s',
    whole: true,
  })
  expect(live('zh', 'loading libraries  module 9/3000')).toEqual({ text: '正在加载程序库  模块 9/3000', whole: true })
  expect(live('zh', 'MiB 12/98  in 3s')).toEqual({ text: 'MiB 12/98  已用 3s', whole: true })
  expect(live('zh', 'row 12  tokens 5')).toEqual({ text: '行 12  每步词元数 5', whole: true })
  expect(live('zh', 'a sentence of nobody  step 1/2')).toEqual({ text: 'a sentence of nobody  步 1/2', whole: false })
})
