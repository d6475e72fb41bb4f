/** Hand-written pages of the reference have all that the code has, and nothing else. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { OWN_TABLES } from '../../src/destinations/files/reader.js';
import { FAILURES } from '../../src/failures.js';
import { DEFINITIONS } from '../../src/destinations/sql/own-tables.js';
import {
  BATCH,
  DELETED_AT,
  KEY_HASH,
  PARENT,
  SEQUENCE,
  SYNCED_AT,
  VALID_FROM,
  VALID_TO,
} from '../../src/protocol.js';
import { ROOT } from '../helpers/documents.js';

const page = (name: string): string => readFileSync(join(ROOT, 'docs', name), 'utf8');

/** Cells of the first table under a heading, without the code marks. */
function rowsUnder(text: string, heading: string): string[][] {
  const [, rest = ''] = text.split(new RegExp(`^## ${heading}$`, 'm'));
  const [section = ''] = rest.split(/^## /m);
  const lines = /(?:^\|.*\n)+/m.exec(section)?.[0].trimEnd().split('\n').slice(2) ?? [];
  return lines.map((line) =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim()),
  );
}

const code = (cell = ''): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name);

describe('docs/tables.md', () => {
  const text = page('tables.md');
  const types = {
    text: 'VARCHAR',
    'text?': 'VARCHAR?',
    whole: 'BIGINT',
    time: 'TIMESTAMPTZ',
    truth: 'BOOLEAN',
  };

  it.each(DEFINITIONS)('has the columns of _highwater_$table', ({ table, columns }) => {
    const rows = rowsUnder(text, `\\\\?_highwater_${table}`);
    expect(rows.map(([name, type]) => [...code(name), type])).toEqual(
      Object.entries(columns).map(([name, kind]) => [name, types[kind]]),
    );
  });

  it('has the columns in tables of streams', () => {
    const names = rowsUnder(text, 'Columns in your tables').flatMap(([name]) => code(name));
    expect(names.sort()).toEqual(
      [PARENT, SYNCED_AT, BATCH, DELETED_AT, SEQUENCE, VALID_FROM, VALID_TO, KEY_HASH].sort(),
    );
  });

  it('has the views of files', () => {
    const rows = rowsUnder(text, 'Views of files').map(([name, columns]) => [
      ...code(name),
      ...code(columns),
    ]);
    expect(rows).toEqual(OWN_TABLES.map(({ name, columns }) => [name, ...Object.keys(columns)]));
  });
});

describe('docs/environment.md', () => {
  const listed = new Set(
    [...page('environment.md').matchAll(/^\| `([A-Z][A-Z0-9_]+)/gm)].map(([, name]) => name),
  );
  /** Names in the sources that are no variables. */
  const others = new Set(['HIGHWATER_NOT_ALLOWED', 'HIGHWATER_FAULT']);
  const read = new Set(
    readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .flatMap((name) => [
        ...readFileSync(join(ROOT, 'src', name), 'utf8').matchAll(
          /\b(?:HIGHWATER|TEMPORAL)_[A-Z0-9_]*[A-Z0-9]\b/g,
        ),
      ])
      .map(([name]) => name)
      .filter((name) => !others.has(name)),
  );

  it('has every variable of Highwater and Temporal that the code reads', () => {
    expect([...read].filter((name) => !listed.has(name))).toEqual([]);
  });

  it('has no variable of Highwater that the code does not read', () => {
    expect([...listed].filter((name) => name?.startsWith('HIGHWATER_') && !read.has(name))).toEqual([]);
  });
});

/** Returns the texts in the sources, with `…` for what is put into them. */
function textsOf(file: string): string[] {
  const found: string[] = [];
  const textOf = (node: ts.Node): string | null => {
    if (ts.isStringLiteralLike(node)) return node.text;
    if (ts.isTemplateExpression(node))
      return node.head.text + node.templateSpans.map(({ literal }) => `…${literal.text}`).join('');
    if (ts.isParenthesizedExpression(node)) return textOf(node.expression);
    if (!ts.isBinaryExpression(node) || node.operatorToken.kind !== ts.SyntaxKind.PlusToken) return null;
    return `${textOf(node.left) ?? '…'}${textOf(node.right) ?? '…'}`;
  };
  const visit = (node: ts.Node): void => {
    const text = textOf(node);
    if (text !== null) found.push(text);
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true));
  return found;
}

describe('docs/troubleshooting.md', () => {
  const text = page('troubleshooting.md');
  const texts = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .flatMap((name) => textsOf(join(ROOT, 'src', name)));
  const headings = [...text.matchAll(/^### (.+)$/gm)].flatMap(([, heading]) => code(heading));

  it('has many messages', () => {
    expect(headings.length).toBeGreaterThan(30);
  });

  it.each(headings)('has a message of the code: %s', (heading) => {
    const pattern = new RegExp(
      heading
        .split('…')
        .map((part) => part.trim().replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
        .join('[\\s\\S]*'),
    );
    expect(texts.some((one) => pattern.test(one))).toBe(true);
  });

  it('has every type of error', () => {
    const types = rowsUnder(text, 'Error types').flatMap(([name]) => code(name));
    expect(types.sort()).toEqual(Object.keys(FAILURES).sort());
  });
});

it('docs/dependencies.md has every package', () => {
  const { dependencies, peerDependencies } = JSON.parse(
    readFileSync(join(ROOT, 'package.json'), 'utf8'),
  ) as Record<'dependencies' | 'peerDependencies', Record<string, string>>;
  const listed = [...page('dependencies.md').matchAll(/^\| (`.*?) \|/gm)].flatMap(([, cell]) => code(cell));
  expect(listed.sort()).toEqual([...Object.keys(dependencies), ...Object.keys(peerDependencies)].sort());
});
