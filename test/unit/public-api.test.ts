/** What programs import: it is complete, it has doc comments, and configurations are checked by their types. */
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { beforeAll, describe, expect, it } from 'vitest';
import { checkConfiguration, type Configuration } from '../../src/index.js';

const source = fileURLToPath(new URL('../../src/', import.meta.url));

describe('the public API', () => {
  let checker: ts.TypeChecker;
  const exported: Record<string, ts.Symbol[]> = {};

  beforeAll(() => {
    const { config } = ts.readConfigFile(`${source}../tsconfig.json`, (path) => ts.sys.readFile(path)) as {
      config: object;
    };
    const { options } = ts.parseJsonConfigFileContent({ ...config, include: [] }, ts.sys, `${source}..`);
    const names = ['index', 'client', 'schedules', 'worker', 'errors'];
    const program = ts.createProgram(
      names.map((name) => `${source}${name}.ts`),
      options,
    );
    checker = program.getTypeChecker();
    for (const name of names) {
      const file = program.getSourceFile(`${source}${name}.ts`) as ts.SourceFile;
      const module = checker.getSymbolAtLocation(file) as ts.Symbol;
      exported[name] = checker.getExportsOfModule(module).map(resolved);
    }
  }, 60_000);

  const resolved = (symbol: ts.Symbol) =>
    symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
  const isInternal = (symbol: ts.Symbol) => symbol.getJsDocTags().some(({ name }) => name === 'internal');
  const isDocumented = (symbol: ts.Symbol) => symbol.getDocumentationComment(checker).length > 0;

  it('has every type and error of the client and the worker at the root', () => {
    const root = new Set(exported['index']);
    // The functions for workers load the native part of Temporal's SDK: they are in highwater/worker alone.
    const isFunction = (symbol: ts.Symbol) => (symbol.flags & ts.SymbolFlags.Function) !== 0;
    const others = [
      ...['client', 'schedules', 'errors'].flatMap((name) => exported[name] ?? []),
      ...(exported['worker'] ?? []).filter((symbol) => !isFunction(symbol)),
    ];
    expect(others.length).toBeGreaterThan(40);
    expect(others.filter((one) => !root.has(one) && !isInternal(one)).map(({ name }) => name)).toEqual([]);
  });

  it('has a doc comment on each export, and on each method', () => {
    const bare: string[] = [];
    for (const symbol of exported['index'] ?? []) {
      if (!isDocumented(symbol)) bare.push(symbol.name);
      for (const member of symbol.members?.values() ?? []) {
        const [declaration] = member.declarations ?? [];
        if (declaration === undefined || !ts.isMethodDeclaration(declaration)) continue;
        const isPrivate = (ts.getCombinedModifierFlags(declaration) & ts.ModifierFlags.Private) !== 0;
        if (!isPrivate && !isDocumented(member)) bare.push(`${symbol.name}.${member.name}`);
      }
    }
    expect(bare).toEqual([]);
  });

  it('names each type that its signatures use', () => {
    const root = new Set(exported['index']);
    const forgotten = new Set<string>();
    const visit = (node: ts.Node): void => {
      if (ts.isBlock(node)) return;
      if (
        ts.canHaveModifiers(node) &&
        ts.getCombinedModifierFlags(node as ts.Declaration) & ts.ModifierFlags.Private
      )
        return;
      if (ts.isTypeReferenceNode(node)) {
        const found = checker.getSymbolAtLocation(node.typeName);
        const type = found === undefined ? undefined : resolved(found);
        const file = type?.declarations?.[0]?.getSourceFile().fileName ?? '';
        const isOurs = file.startsWith(source) && !file.endsWith('/config/types.ts');
        if (type !== undefined && isOurs && !root.has(type) && !(type.flags & ts.SymbolFlags.TypeParameter))
          forgotten.add(type.name);
      }
      ts.forEachChild(node, (child) => {
        if (!(ts.isPropertyDeclaration(node) && child === node.initializer)) visit(child);
      });
    };
    for (const symbol of root) for (const one of symbol.declarations ?? []) visit(one);
    expect([...forgotten]).toEqual([]);
  });
});

/** Fails at run time with a message; the comment above each call fails to compile if its type allows it. */
const refused = (configuration: Configuration) => expect(() => checkConfiguration(configuration));

describe('a configuration in a program', () => {
  it('is accepted in both forms', () => {
    const flat: Configuration = { strategy: 'keyset', base_url: 'http://127.0.0.1:5001/pagination/keyset' };
    expect(checkConfiguration(flat).streams).toEqual(['user']);
    const full: Configuration = {
      source: { base_url: 'https://api.example.com', auth: { type: 'bearer', token: '${env:TOKEN}' } },
      defaults: { primary_key: 'id', strategy: 'page_number' },
      streams: [
        { name: 'orders', path: '/orders', names: { page: 'p' }, page_size: 100 },
        { name: 'events', strategy: 'cursor', next: { token: 'meta.next' }, columns: { id: 'LONG' } },
      ],
      interval: '15m',
    };
    expect(checkConfiguration(full).streams).toEqual(['orders', 'events']);
  });

  it('has its strategy checked by the compiler', () => {
    // @ts-expect-error a misspelt strategy
    refused({ strategy: 'keysett' }).toThrow('"keysett" is not one of');
    const source = { base_url: 'https://api.example.com' };
    // @ts-expect-error a misspelt strategy
    refused({ source, streams: [{ name: 'orders', strategy: 'pagenumber' }] }).toThrow('is not one of');
  });

  it('has its keys and values checked by the compiler', () => {
    // @ts-expect-error an unknown key
    refused({ strategy: 'offset', pagesize: 100 }).toThrow('pagesize: is not a known key');
    // @ts-expect-error a value of another type
    refused({ strategy: 'offset', page_size: true }).toThrow('page_size');
    // @ts-expect-error a stream without a name
    refused({ source: { base_url: 'https://api.example.com' }, streams: [{ strategy: 'cursor' }] }).toThrow(
      'name',
    );
    // @ts-expect-error keys of both forms
    refused({ strategy: 'keyset', source: { base_url: 'https://api.example.com' }, streams: [] }).toThrow();
  });
});
