/** What the training page draws, out of rows of metrics: plain functions. */

export type Point = [x: number, y: number]
export type Rows = Record<string, number>[]

const FIRST = ['loss', 'reward', 'accuracy', 'gain', 'kl', 'score', 'validator', 'length', 'no_eos', 'entropy']
const MOST_POINTS = 400

/** The metric of a chart: held-out numbers (eval_loss) share the chart of the others (loss). */
export const chartOf = (key: string) => key.replace(/^eval_/, '')

/** Charts for these rows, the most telling first. */
export function charts(all: Rows[], axes: Set<string>): string[] {
  const keys = new Set(all.flatMap((rows) => rows.flatMap((row) => Object.keys(row))))
  const names = new Set([...keys].filter((key) => !axes.has(key) && !key.endsWith('_before')).map(chartOf))
  const place = (name: string) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length)
  return [...names].sort((a, b) => place(a) - place(b) || a.localeCompare(b))
}

export function points(rows: Rows, axis: string, key: string): Point[] {
  return rows.flatMap((row): Point[] => {
    const [x, y] = [row[axis], row[key]]
    return x === undefined || y === undefined ? [] : [[x, y]]
  })
}

/** At most `most` points: means of consecutive blocks. */
export function thin(line: Point[], most = MOST_POINTS): Point[] {
  if (line.length <= most) return line
  return Array.from({ length: most }, (_, i) => {
    const block = line.slice(Math.floor((i * line.length) / most), Math.floor(((i + 1) * line.length) / most))
    const mean = (k: 0 | 1) => block.reduce((sum, p) => sum + p[k], 0) / block.length
    return [mean(0), mean(1)]
  })
}

/** Round numbers between `low` and `high`, some `wanted` of them. */
export function ticks(low: number, high: number, wanted = 4): number[] {
  if (!(high > low)) return [low]
  const rough = (high - low) / wanted
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = power * ([1, 2, 5].find((m) => m * power >= rough) ?? 10)
  const out: number[] = []
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) out.push(Number((k * step).toPrecision(12)))
  return out
}

/** The smallest and largest of each coordinate, a flat line given some room. */
export function extent(lines: Point[][]): { x: Point; y: Point } | null {
  const all = lines.flat()
  if (!all.length) return null
  const range = (k: 0 | 1): Point => {
    const low = all.reduce((m, p) => Math.min(m, p[k]), Infinity)
    const high = all.reduce((m, p) => Math.max(m, p[k]), -Infinity)
    const room = low === high ? Math.abs(low) * 0.1 || 1 : 0
    return [low - room, high + room]
  }
  return { x: range(0), y: range(1) }
}

export function short(value: number): string {
  const size = Math.abs(value)
  if (value !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(1).replace('e+', 'e')
  return String(Number(value.toPrecision(4)))
}
