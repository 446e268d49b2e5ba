import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Plugin } from 'vite'

const parts = ['index.html', 'package-lock.json', 'public', 'sources.ts', 'src', 'vite.config.ts']

const filesOf = (part: string): string[] => {
  const found = readdirSync('.', { withFileTypes: true }).find((entry) => entry.name === part)
  if (!found?.isDirectory()) return [part]
  return readdirSync(part, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).replaceAll('\\', '/'))
}

/** Every source of the page with its hash goes into the build, so that a test sees a page built from others. */
export const sources: Plugin = {
  name: 'sources',
  generateBundle() {
    const files = parts.flatMap(filesOf).filter((file) => !/\.test\.ts$|(^|\/)\./.test(file))
    const lines = files.sort().map((file) => `${createHash('sha256').update(readFileSync(file)).digest('hex').slice(0, 16)}  ${file}\n`)
    this.emitFile({ type: 'asset', fileName: 'sources.txt', source: lines.join('') })
  },
}
