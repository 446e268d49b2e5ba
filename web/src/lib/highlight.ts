/** Marks words in the page without touching it; browsers that cannot show nothing marked. */
export function highlight(root: Element, words: readonly string[]) {
  if (!('highlights' in CSS)) return
  const ranges: Range[] = []
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT)
  const small = words.map((word) => word.toLowerCase()).filter(Boolean)
  while (walker.nextNode()) {
    const node = walker.currentNode
    const text = (node.nodeValue ?? '').toLowerCase()
    if (text.length !== node.nodeValue?.length) continue // small letters of another length: places would not agree
    for (const word of small) {
      for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
        const range = new Range()
        range.setStart(node, at)
        range.setEnd(node, at + word.length)
        ranges.push(range)
      }
    }
  }
  CSS.highlights.set('found', new Highlight(...ranges))
}

export const unhighlight = () => 'highlights' in CSS && CSS.highlights.delete('found')
