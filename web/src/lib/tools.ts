/** KaTeX and highlight.js with the languages that answers are full of. Both read text alone and escape it. */
import hljs from 'highlight.js/lib/core'
import bash from 'highlight.js/lib/languages/bash'
import c from 'highlight.js/lib/languages/c'
import cpp from 'highlight.js/lib/languages/cpp'
import csharp from 'highlight.js/lib/languages/csharp'
import css from 'highlight.js/lib/languages/css'
import diff from 'highlight.js/lib/languages/diff'
import go from 'highlight.js/lib/languages/go'
import ini from 'highlight.js/lib/languages/ini'
import java from 'highlight.js/lib/languages/java'
import javascript from 'highlight.js/lib/languages/javascript'
import json from 'highlight.js/lib/languages/json'
import kotlin from 'highlight.js/lib/languages/kotlin'
import php from 'highlight.js/lib/languages/php'
import python from 'highlight.js/lib/languages/python'
import ruby from 'highlight.js/lib/languages/ruby'
import rust from 'highlight.js/lib/languages/rust'
import sql from 'highlight.js/lib/languages/sql'
import swift from 'highlight.js/lib/languages/swift'
import typescript from 'highlight.js/lib/languages/typescript'
import xml from 'highlight.js/lib/languages/xml'
import yaml from 'highlight.js/lib/languages/yaml'
import katex from 'katex'
import 'katex/dist/katex.min.css'

const LANGUAGES = {
  ...{ bash, c, cpp, csharp, css, diff, go, ini, java, javascript, json, kotlin, php, python, ruby, rust, sql, swift },
  ...{ typescript, xml, yaml },
}
for (const [name, language] of Object.entries(LANGUAGES)) hljs.registerLanguage(name, language)

const LONGEST = 50_000

export function formula(element: HTMLElement) {
  const tex = element.textContent
  const displayMode = element.classList.contains('display')
  try {
    const html = katex.renderToString(tex, { displayMode, trust: false, strict: 'ignore', maxExpand: 500, maxSize: 20 })
    const drawn = document.createElement('span')
    drawn.className = displayMode ? 'formula display' : 'formula'
    drawn.innerHTML = html
    element.replaceWith(drawn)
  } catch {
    // Not TeX, or a command that KaTeX does not know: the source stays.
  }
}

export function code(element: HTMLElement) {
  const language = element.className.replace('language-', '').toLowerCase()
  const text = element.textContent
  if (text.length > LONGEST || !hljs.getLanguage(language)) return
  element.innerHTML = hljs.highlight(text, { language, ignoreIllegals: true }).value
}
