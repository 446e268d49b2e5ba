/** Heights of a person's pace, from 0 to 1, on a scale that all people share: else whoever is always quick looks slow.
 * A tenth of all values may be higher than the scale, such as where somebody went to lunch. */
export function heights(values: (number | null)[], everybody: (number | null)[]): number[] {
  const known = everybody.filter((value) => value !== null).sort((a, b) => a - b)
  const top = Math.max(known[Math.floor(0.9 * (known.length - 1))] ?? 0, 1e-9)
  return values.map((value) => Math.min(1, (value ?? 0) / top))
}
