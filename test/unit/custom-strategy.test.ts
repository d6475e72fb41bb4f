/** Strategies of extensions: how configurations name them, how they are loaded, and that their laws find what breaks them. */
import { mkdir, writeFile } from 'node:fs/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { plansFrom } from '../../src/config/index.js';
import {
  checkConfiguration,
  type Cursor,
  type CustomStrategy,
  defineStrategy,
  loadExtensions,
  type PageSummary,
  type StrategyDefinition,
} from '../../src/index.js';
import { extensionsOf } from '../../src/extensions.js';
import { planStrategy } from '../../src/plan/strategy.js';
import { streamKey } from '../../src/plan/stream-key.js';
import type { StreamPlan } from '../../src/protocol.js';
import { rangeProblem, unfitRange } from '../../src/strategies/index.js';
import {
  claimsOf,
  strategyLaws,
  type SourceAnswer,
  type StrategyLaws,
} from '../../src/testing/strategy-laws.js';
import { scratch } from '../helpers/harness.js';

type Place = { place: number };

/** Reads the pages 0, 1, … of a source that says `more`. */
const counting = (): CustomStrategy<Cursor<null, Place>> => ({
  remembers: { keys: 'none', values: 'none' },
  begin: (checkpoint) =>
    checkpoint !== null && checkpoint.ended === null
      ? checkpoint
      : { pass: (checkpoint?.pass ?? 0) + 1, mark: null, position: { place: 0 }, ended: null, notes: [] },
  request: ({ position, ended }) =>
    ended === null ? { params: { place: String(position?.place) } } : { end: ended },
  advance(cursor, page) {
    const place = (cursor.position?.place ?? 0) + 1;
    // Bounded, whatever a source says.
    return page.more === true && place < 100
      ? { ...cursor, position: { place } }
      : { ...cursor, position: null, ended: 'last_page' };
  },
  state: ({ position }) => ({ place: position?.place ?? null }),
});

const definition = defineStrategy({
  name: 'counting',
  options: z.strictObject({ step: z.number().int().min(1).default(1), name: z.string().optional() }),
  // The options have their types: `step` is a number.
  create: ({ step }) => (step.toFixed() === '' ? counting() : counting()),
});
const custom = new Map<string, StrategyDefinition>([['counting', definition]]);

const configurationOf = (stream: object) => ({
  source: { base_url: 'https://api.example.com' },
  streams: [{ name: 'a', primary_key: 'id', strategy: 'counting', ...stream }],
});
const planOf = (stream: object, strategies = custom): StreamPlan => {
  const [plan] = plansFrom(configurationOf(stream), 'c.yaml', false, {
    strategies,
    destinations: new Map(),
  }).plans;
  if (plan === undefined) throw new Error('no plan');
  return plan;
};

describe('a configuration with the strategy of an extension', () => {
  it('is a plan with its options, as they were written, and a checkpoint of its own', () => {
    const plan = planOf({ options: { step: 2 }, path: '/x/${cursor:place}', page_size: 10 });
    expect(plan.options).toEqual({
      strategy: 'custom',
      name: 'counting',
      options: { step: 2 },
      readsAll: false,
    });
    expect(streamKey(plan).strategy).toBe('custom:counting');
    expect(planStrategy(plan, custom).strategy.name).toBe('counting');
    expect(planOf({}).options).toMatchObject({ options: {} });
    expect(
      checkConfiguration(configurationOf({}), { strategies: custom, destinations: new Map() }).workflowId,
    ).toMatch(/^a-counting-/);
  });

  it.each([
    [{ options: { step: 0 } }, /streams\[0\]\.options\.step: Too small/],
    [{ options: { stepp: 1 } }, /streams\[0\]\.options: Unrecognized key: "stepp"/],
    [{ options: [] }, /streams\[0\]\.options: /],
    [{ options: { name: 'x', token: 'abcdef' } }, /options\.token: looks like a credential/],
    [{ mode: 'replace' }, /streams\[0\]\.mode: replace needs passes that read everything/],
    [{ deletes: 'soft' }, /streams\[0\]\.deletes: needs passes that read everything/],
    [{ strategy: 'countin' }, /"countin" is not one of keyset, .*, cursor \(did you mean "counting"\?\)$/],
    [{ strategy: 'keysett' }, /\(did you mean "keyset"\?\)$/],
    [
      { strategy: 'keyset', cursor_field: 'at', options: {} },
      /options: has no effect with the built-in strategy keyset/,
    ],
  ])('is refused with %j', (stream, expected) => {
    expect(() => planOf(stream)).toThrow(expected);
  });

  it('says where strategies come from, if there is no extension', () => {
    expect(() => planOf({}, new Map())).toThrow(
      /strategy: "counting" is not one of .*; if it is an extension's, name the extension: HIGHWATER_EXTENSIONS, or --extension of a worker/,
    );
  });

  it('may delete and be audited if each pass reads the whole list', () => {
    const all = new Map([['counting', { ...definition, readsAll: true }]]);
    const plan = planOf({ deletes: 'hard' }, all);
    const audit = { kind: 'audit', from: null, to: null } as const;
    expect(unfitRange(plan, audit)).toBeNull();
    expect(unfitRange(planOf({}), audit)).toContain('does not read its whole source');
    expect(unfitRange(plan, { ...audit, kind: 'backfill', from: '1' })).toContain('reads no ranges');
    expect(rangeProblem(plan.options, { from: '1', to: null })).toContain('reads no ranges');
  });

  it('fails with what to do where a worker lacks the extension, or has another version of it', () => {
    const plan = planOf({ options: { step: 2 } });
    expect(() => planStrategy(plan, new Map())).toThrow(
      /the strategy counting comes from an extension, and this worker has no extension\. .*--extension PACKAGE.*HIGHWATER_EXTENSIONS.*highwater resume/,
    );
    const newer = { ...definition, options: z.strictObject({ steps: z.number() }) } as StrategyDefinition;
    expect(() => planStrategy(plan, new Map([['counting', newer]]))).toThrow(
      'no longer accepts its options: steps',
    );
    expect(() => planStrategy(plan, new Map())).toThrow(
      expect.objectContaining({ name: 'ExtensionMissingError' }),
    );
  });
});

describe('an extension', () => {
  let folder: Awaited<ReturnType<typeof scratch>>;
  beforeAll(async () => {
    folder = await scratch();
    const text = (name: string) =>
      `export default { name: '${name}', create: () => null, options: { '~standard': { version: 1, vendor: 'own', validate: (value) => ({ value }) } } };`;
    const packageOf = async (name: string, manifest: object, file = 'index.mjs') => {
      await mkdir(folder.file(`node_modules/${name}`), { recursive: true });
      await writeFile(
        folder.file(`node_modules/${name}/package.json`),
        JSON.stringify({ name, ...manifest }),
      );
      await writeFile(folder.file(`node_modules/${name}/${file}`), text(name.replaceAll('-', '_')));
    };
    await packageOf('for-import', { exports: { '.': { types: './x.d.ts', import: './index.mjs' } } });
    await packageOf('plain', { exports: './index.mjs' });
    await packageOf('by-main', { main: 'index.mjs' });
    await writeFile(folder.file('own.mjs'), text('own'));
    await writeFile(
      folder.file('list.mjs'),
      `${text('one').replace('export default', 'const a =')} export default [a, { ...a, name: 'two' }];`,
    );
    await writeFile(folder.file('none.mjs'), 'export const x = 1;');
    await writeFile(folder.file('throws.mjs'), "throw new Error('not today');");
    await writeFile(folder.file('keyset.mjs'), text('keyset'));
    await writeFile(
      folder.file('wrong.mjs'),
      "export default { name: 'wrong', options: {}, create: () => null };",
    );
  });
  afterAll(() => folder.remove());

  const load = (...names: string[]) => loadExtensions(names, folder.path);

  it('is a package, whatever its exports look like, a file, or a definition', async () => {
    const found = await load('for-import', 'plain', 'by-main', './own.mjs', './list.mjs');
    expect([...found.strategies.keys()]).toEqual(['for_import', 'plain', 'by_main', 'own', 'one', 'two']);
    expect([...(await loadExtensions([definition])).strategies.keys()]).toEqual(['counting']);
  });

  it('is not loaded for a command that trusts nothing, which says so', async () => {
    const said: string[] = [];
    const stderr = vi
      .spyOn(process.stderr, 'write')
      .mockImplementation((text) => said.push(String(text)) > 0);
    const named = { HIGHWATER_EXTENSIONS: 'plain, ./own.mjs' };
    expect([...(await load(...extensionsOf(named))).strategies.keys()]).toEqual(['plain', 'own']);
    expect(said).toEqual([]);
    const none = await load(...extensionsOf({ ...named, HIGHWATER_COMMAND_TRUST: 'none' }));
    expect(none.strategies.size).toBe(0);
    expect(extensionsOf({ HIGHWATER_COMMAND_TRUST: 'none' })).toEqual([]);
    stderr.mockRestore();
    expect(said).toEqual([
      'HIGHWATER_EXTENSIONS is ignored, and plain, ./own.mjs not loaded, because HIGHWATER_COMMAND_TRUST is "none"\n',
    ]);
  });

  it.each([
    [
      'no-such-package',
      /the extension no-such-package cannot be loaded: it is not installed: run "npm install no-such-package"/,
    ],
    ['./nothing.mjs', /there is no file .*nothing\.mjs/],
    ['./none.mjs', /has no default export; write "export default defineStrategy/],
    ['./throws.mjs', /cannot be loaded: not today/],
    ['./keyset.mjs', /its export is called keyset, as a built-in strategy is/],
    ['./wrong.mjs', /wrong needs "options", a Standard Schema/],
  ])('%s is refused', async (name, expected) => {
    await expect(load(name)).rejects.toThrow(expected);
    await expect(load(name)).rejects.toMatchObject({ name: 'ExtensionError' });
  });

  it('that adds a strategy of another one is refused', async () => {
    await expect(load('./own.mjs', './own.mjs')).rejects.toThrow(
      'adds the strategy own, which another one adds, too',
    );
  });
});

/** Pages of records. */
type Pages = number[];
const laws: StrategyLaws<Pages> = {
  sources: fc.array(fc.nat(3), { minLength: 1, maxLength: 6 }),
  strategy: counting,
  answer: (pages, params): SourceAnswer => {
    const place = Number(params['place']);
    const records = Array.from({ length: pages[place] ?? 0 }, (_, i) => ({ key: `${place}-${i}` }));
    return { records, more: place + 1 < pages.length };
  },
  keys: (pages) => pages.flatMap((count, place) => Array.from({ length: count }, (_, i) => `${place}-${i}`)),
};

strategyLaws('counting', laws);

describe('the laws of strategies find a strategy that', () => {
  const failing = (change: (made: ReturnType<typeof counting>) => Partial<ReturnType<typeof counting>>) => {
    const strategy = () => {
      const made = counting();
      return { ...made, ...change(made) };
    };
    return Object.entries(claimsOf({ ...laws, strategy })).flatMap(([claim, holds]) => {
      try {
        holds();
        return [];
      } catch {
        return [claim];
      }
    });
  };
  const moved = (cursor: Cursor<null, Place>, by: number): Cursor<null, Place> => ({
    ...cursor,
    position: cursor.position && { place: cursor.position.place + by },
  });

  it('leaves records out', () => {
    const skips = failing(({ advance }) => ({ advance: (cursor, page) => moved(advance(cursor, page), 1) }));
    expect(skips).toContain('reads every record of a source that does not change');
  });

  it('asks for a page twice', () => {
    let asked = 0;
    const twice = failing(({ advance }) => ({
      advance: (cursor, page) =>
        asked++ % 2 === 0 && page.more === true ? { ...cursor } : advance(cursor, page),
    }));
    expect(twice).toContain('asks for nothing twice within a pass');
  });

  it('begins anew where it should go on', () => {
    const anew = failing(({ begin }) => ({
      begin: (checkpoint, now) => begin(checkpoint && { ...checkpoint, ended: 'last_page' }, now),
    }));
    expect(anew).toContain(
      'reads the same when it is stopped after any page, and resumed from the JSON of its cursor',
    );
  });

  it('goes on for ever', () => {
    const endless = failing(() => ({
      advance: (cursor, page: PageSummary) =>
        page.more === true ? moved(cursor, 1) : { ...cursor, position: null, ended: 'last_page' },
    }));
    expect(endless).toEqual(['ends, or fails, over a source that answers every request with the same']);
  });

  it('keeps something to itself', () => {
    const impure = failing(({ advance }) => {
      let calls = 0;
      return { advance: (cursor, page) => ({ ...advance(cursor, page), counted: calls++ }) };
    });
    expect(impure.length).toBeGreaterThan(0);
    const mutating = failing(({ advance }) => ({
      advance: (cursor, page) => Object.assign(cursor, advance(cursor, page)),
    }));
    expect(mutating).toContain('is pure: it changes nothing that it is given, and says the same of the same');
  });
});
