import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vitest/config'
import { sources } from './sources.ts'

const server = 'http://127.0.0.1:8000'

/** Every browser that runs this page reads woff2: the same fonts in two older formats stay out of the bundle. */
const woff2Alone = {
  name: 'woff2-alone',
  enforce: 'pre' as const,
  transform: (code: string, id: string) =>
    /katex[^/]*\.css$/.test(id) ? code.replace(/,url\([^)]+\) format\("(?:woff|truetype)"\)/g, '') : undefined,
}

export default defineConfig({
  plugins: [woff2Alone, svelte(), sources],
  base: './', // the server says under which path it is offered
  build: {
    outDir: '../src/steersman/server/static',
    emptyOutDir: true,
    license: { fileName: 'licenses.md' }, // of what is bundled
    target: 'es2022',
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'], // light-dark() is kept as it is written
    assetsInlineLimit: 0, // the page runs under default-src 'self': no data: addresses
    modulePreload: { polyfill: false },
  },
  server: { proxy: { '/api': server, '/report': server } },
  test: { include: ['src/**/*.test.ts'] },
})
