/**
 * Files that go with a question, as text. In the message they stand between tags, so that a model reads what the file
 * is called and where it ends; the page shows them as chips.
 */

/** Bytes of one file, and files of one message. The server's limits of size and context hold besides. */
export const FILE_LIMIT = 200_000
export const FILES = 8
/** What the file dialog offers; any file that is text may be dropped or pasted. */
export const KINDS = '.txt,.md,.csv,.tsv,.json,.jsonl,.xml,.yaml,.yml,.toml,.ini,.log,.html,.css,.py,.js,.ts,.sql,.sh,.java,.c,.h,.cpp,.go,.rs,.rb,.php,.pdf,.docx,text/*'
/** Bytes of a PDF or Word file, whose words the server reads. */
export const DOCUMENT_LIMIT = 10_000_000

export interface Attachment {
  name: string
  text: string
}
export type Refusal = 'attach_large' | 'attach_binary' | 'attach_empty'

const ENCODINGS = ['utf-8', 'gb18030'] as const
/** Control characters that no text has. */
const CONTROL = /[\u0000-\u0008\u000e-\u001a\u001c-\u001f]/

/** The file's text in whatever of these encodings it is whole, or why it cannot be taken. */
export function decoded(bytes: Uint8Array): string | Refusal {
  if (bytes.length > FILE_LIMIT) return 'attach_large'
  const wide = bytes[0] === 0xff && bytes[1] === 0xfe ? 'utf-16le' : bytes[0] === 0xfe && bytes[1] === 0xff ? 'utf-16be' : null
  for (const encoding of wide ? [wide] : ENCODINGS) {
    try {
      const text = new TextDecoder(encoding, { fatal: true }).decode(bytes)
      if (!CONTROL.test(text)) return text.trim() ? text.replaceAll('\r\n', '\n') : 'attach_empty'
    } catch {
      // the next encoding
    }
  }
  return 'attach_binary'
}

/** Whether the server must read the file's words: by how it begins. */
export const isDocument = (name: string, bytes: Uint8Array) => {
  const head = String.fromCharCode(...bytes.subarray(0, 1024))
  return head.includes('%PDF-') || (head.startsWith('PK\u0003\u0004') && /\.docx$/i.test(name))
}

/** Base64 of any number of bytes. */
export function base64(bytes: Uint8Array): string {
  let text = ''
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000))
  return btoa(text)
}

/** A question with its files behind it. A file that holds the closing tag gets tags with a number. */
export function joined(text: string, files: readonly Attachment[]): string {
  const blocks = files.map(({ name, text }) => {
    let tag = 'attachment'
    for (let n = 1; text.includes(`</${tag}>`); n++) tag = `attachment-${n}`
    return `<${tag} name="${name.replace(/["\n\r<>]/g, '_')}">\n${text.replace(/\n+$/, '')}\n</${tag}>`
  })
  return [text, ...blocks].filter(Boolean).join('\n\n')
}

const BLOCK = /(?:^|\n\n)<(attachment(?:-\d+)?) name="([^"\n]*)">\n([^]*?)\n<\/\1>(?=\n\n<attachment|$)/g

/** What `joined` joined. */
export function parted(content: string): { text: string; files: Attachment[] } {
  const files: Attachment[] = []
  const text = content.replace(BLOCK, (_, _tag: string, name: string, text: string) => {
    files.push({ name, text })
    return ''
  })
  return { text, files }
}
