import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vitest/config'

const server = 'http://127.0.0.1:8000'

export default defineConfig({
  plugins: [svelte()],
  build: {
    outDir: '../src/steersman/server/static',
    emptyOutDir: true,
    target: 'es2022',
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'], // light-dark() is kept as it is written
    assetsInlineLimit: 0, // the page runs under default-src 'self': no data: addresses
    modulePreload: { polyfill: false },
  },
  server: { proxy: { '/api': server, '/report': server } },
  test: { include: ['src/**/*.test.ts'] },
})
