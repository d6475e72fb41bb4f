/** Returns a table of Markdown. */
export function markdownTable(header: string[], all: string[][]): string {
  const line = (cells: string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(header), line(header.map(() => '---')), ...all.map(line)].join('\n');
}
