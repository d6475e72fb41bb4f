import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const SRC = resolve(import.meta.dirname, '../../src');

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts') && !name.includes('assembly'))
  .map((name) => join(SRC, name));

/** Returns the files of src that a file imports by value when it is loaded. */
function importsOf(file: string): string[] {
  const { statements } = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest);
  return statements.flatMap((statement) => {
    if (!ts.isImportDeclaration(statement) && !ts.isExportDeclaration(statement)) return [];
    const { moduleSpecifier } = statement;
    if (moduleSpecifier === undefined || !ts.isStringLiteral(moduleSpecifier) || isTypeOnly(statement))
      return [];
    const { text } = moduleSpecifier;
    return text.startsWith('.') ? resolve(dirname(file), text.replace(/\.js$/, '.ts')) : [];
  });
}

function isTypeOnly(statement: ts.ImportDeclaration | ts.ExportDeclaration): boolean {
  if (ts.isExportDeclaration(statement)) return statement.isTypeOnly;
  const { importClause } = statement;
  const named = importClause?.namedBindings;
  return (
    importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword ||
    (named !== undefined && ts.isNamedImports(named) && named.elements.every((element) => element.isTypeOnly))
  );
}

/** Returns the first import cycle, as the files along it; null if there is none. */
function firstCycle(imports: Map<string, string[]>): string[] | null {
  const done = new Set<string>();
  const follow = (file: string, path: string[]): string[] | null => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return null;
    for (const imported of imports.get(file) ?? []) {
      const cycle = follow(imported, [...path, file]);
      if (cycle !== null) return cycle;
    }
    done.add(file);
    return null;
  };
  for (const file of imports.keys()) {
    const cycle = follow(file, []);
    if (cycle !== null) return cycle;
  }
  return null;
}

describe('The files of src', () => {
  it('import one another by value without a cycle', () => {
    const imports = new Map(files.map((file) => [file, importsOf(file)]));
    expect(imports.size).toBeGreaterThan(200);
    expect(firstCycle(imports)?.map((file) => relative(SRC, file)) ?? null).toBeNull();
  });

  it('would be found in a cycle', () => {
    const imports = new Map([
      ['a', ['b']],
      ['b', ['c']],
      ['c', ['b']],
    ]);
    expect(firstCycle(imports)).toEqual(['b', 'c', 'b']);
  });
});
