/** How the examples of the documentation are read, and compared with what is printed. */
import { describe, expect, it } from 'vitest';
import { difference, documents, parsePage } from '../helpers/documents.js';

describe('the commands of a page', () => {
  const page = (...lines: string[]) => parsePage('page.md', lines.join('\n')).steps;

  it('are those of its console fences, with what each prints', () => {
    expect(
      page(
        ...['# Page', '```console', '$ cat a.yaml', 'a: 1', '', '$ highwater run a.yaml', 'done', '```'],
        ...['```', '$ not this', '```'],
      ),
    ).toEqual([
      { line: 3, command: 'cat a.yaml', output: 'a: 1', isBackground: false },
      { line: 6, command: 'highwater run a.yaml', output: 'done', isBackground: false },
    ]);
  });

  it('run in the background where they end with "&", or where the fence says so', () => {
    expect(
      page('```console', '$ highwater worker &', '$ true && true', '```').map((step) => step.isBackground),
    ).toEqual([true, false]);
    expect(page('```console background', '$ highwater worker', '```')).toMatchObject([
      { command: 'highwater worker', isBackground: true },
    ]);
  });

  it('may be longer than a line, indented, or in a comment', () => {
    const shown = ['1. So:', '   ```console', '   $ highwater a \\', '       --b', '   said', '   ```'];
    expect(page(...shown, '', '<!-- console', '$ sleep 1', '-->')).toMatchObject([
      { line: 3, command: 'highwater a \\\n    --b', output: 'said' },
      { line: 9, command: 'sleep 1', output: '' },
    ]);
  });

  it('may have a here-document', () => {
    expect(page('```console', "$ cat > a.yaml <<'END'", 'a: 1', '', 'END', '$ true', '```')).toMatchObject([
      { command: "cat > a.yaml <<'END'\na: 1\n\nEND", output: '' },
      { command: 'true' },
    ]);
  });

  it('come before their output', () => {
    expect(() => page('```console', 'done', '```')).toThrow('page.md:2: the example begins with output');
  });
});

describe('an output', () => {
  it.each([
    ['done', 'done\n'],
    ['a\n…\nd', 'a\nb\nc\nd'],
    ['a\n…\nd', 'a\nd'],
    ['…\nd', 'b\nd\nd'],
    ['took … of it', 'took 3 parts of it'],
    ['at 2026-11-30T10:00:00Z', 'at 2027-01-03T23:59:59.123Z'],
    ['id 1f0a9b3c-66de-4c11-8e55-0c2b5ad0c1f2', 'id 00000000-1111-2222-3333-444444444444'],
    ['took 3.2 s', 'took 812 ms'],
    ['passed 12s ago', 'passed 1m 5s ago'],
    ['a   b\n──  ──', 'a       b\n──────  ──────'],
    ['/home/me/highwater.duckdb', '/home/you/highwater.duckdb'],
    ['next: 10:00:00 by process 17', 'next: 23:59:59 by process 4711'],
  ])('%j may be printed as %j', (shown, printed) => {
    expect(difference(shown, printed)).toBeNull();
  });

  it.each([
    ['done', 'failed', 'line 1 of the shown output, "done", is printed as "failed"'],
    ['200 rows', '201 rows', 'line 1 of the shown output, "200 rows", is printed as "201 rows"'],
    ['a\nb', 'a', 'line 2 of the shown output, "b", is printed as nothing'],
    ['a', 'a\nb', 'the shown output ends before "b"'],
    ['a\n…\nd', 'a\nb\nc', 'line 3 of the shown output, "d", is printed as "b"'],
    ['  a: 1', 'a: 1', 'line 1 of the shown output, "  a: 1", is printed as "a: 1"'],
    [
      // The sample API's records have fixed times.
      'last_updated_at 2026-01-01T01:39:30Z',
      'last_updated_at 2026-01-01T01:39:00Z',
      'line 1 of the shown output, "last_updated_at 2026-01-01T01:39:30Z", is printed as "last_updated_at 2026-01-01T01:39:00Z"',
    ],
    ['took 3 s', 'took long', 'line 1 of the shown output, "took 3 s", is printed as "took long"'],
    ['a (b', 'a [b', 'line 1 of the shown output, "a (b", is printed as "a [b"'],
  ])('%j may not be printed as %j', (shown, printed, problem) => {
    expect(difference(shown, printed)).toBe(problem);
  });
});

it('the pages of the documentation have examples', () => {
  const steps = documents().flatMap(({ file, text }) => parsePage(file, text).steps);
  expect(steps.length).toBeGreaterThan(5);
});
