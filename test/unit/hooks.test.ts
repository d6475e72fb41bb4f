/** Hooks that make rows of records, in threads of their own. */
import { mkdir, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readExact, writeExact } from '../../src/hooks/exact-json.js';
import { hookLimits, Hooks, TooSlowError } from '../../src/hooks/hooks.js';
import { HookThread } from '../../src/hooks/hook-thread.js';
import { failureText, type Outcome } from '../../src/hooks/messages.js';
import { TrustPolicy } from '../../src/trust/policy.js';
import { scratch } from '../helpers/harness.js';

let folder: Awaited<ReturnType<typeof scratch>>;
let hooks: Hooks;

const limits = { seconds: 20, megabytes: 128, env: {} };
const hooksWith = (given: Partial<typeof limits> = {}) => {
  hooks = new Hooks(TrustPolicy.local({ HIGHWATER_HOOKS: folder.path }), { ...limits, ...given });
  return hooks;
};
const write = (code: string, name = 'tidy.mjs') => writeFile(folder.file(name), code);

/** The outcomes of records with a hook's code. */
async function run(code: string, records: readonly object[] | string[], stops = false): Promise<Outcome[]> {
  await write(code);
  const texts = records.map((record) => (typeof record === 'string' ? record : JSON.stringify(record)));
  const runner = hooks.runnerOf(hooks.find('tidy'));
  return runner.run({ records: texts, stream: 'people', parent: { team: 7 } }, stops);
}
const failure = (outcome: Outcome | undefined) =>
  outcome !== undefined && 'failure' in outcome ? failureText(outcome) : '';

beforeEach(async () => {
  folder = await scratch();
  hooksWith();
});
afterEach(async () => {
  hooks.close();
  await folder.remove();
});

describe('results', () => {
  test('a record, several, or none', async () => {
    const code = `export default ({ n }) => (n === 0 ? null : n === 1 ? { n: 'one' } : [{ n }, { n: n + 0.5 }])`;
    expect(await run(code, [{ n: 0 }, { n: 1 }, { n: 2 }])).toEqual([
      [],
      ['{"n":"one"}'],
      ['{"n":2}', '{"n":2.5}'],
    ]);
  });

  test('promises of them, in the order of the records', async () => {
    const code = `export default async ({ n }) => (await new Promise((end) => setTimeout(end, 20 - n * 10)), { n })`;
    expect(await run(code, [{ n: 0 }, { n: 1 }, { n: 2 }])).toEqual([['{"n":0}'], ['{"n":1}'], ['{"n":2}']]);
  });

  test('a hook sees its stream and the parent', async () => {
    expect(await run(`export default (_, context) => context`, ['{}'])).toEqual([
      ['{"stream":"people","parent":{"team":7}}'],
    ]);
  });

  test('defineTransform comes from highwater/hooks, wherever the folder is', async () => {
    const code = `import { defineTransform, ExactNumber } from 'highwater/hooks';
      export default defineTransform(() => ({ price: new ExactNumber('1.10'), at: new Date(0), left: undefined }))`;
    expect(await run(code, ['{}'])).toEqual([['{"price":1.10,"at":"1970-01-01T00:00:00.000Z"}']]);
  });

  test('no result that JSON does not have, naming where it is', async () => {
    const code = `class Money {}
      const circle = {}; circle.self = circle;
      const results = [undefined, 7, 'text', [[]], [{}, null], { a: { b: NaN } }, { f: () => 1 }, { m: new Map() },
        { list: [undefined] }, { money: new Money() }, circle, { when: new Date('soon') }, { s: Symbol('s') }];
      export default ({ n }) => results[n];`;
    const outcomes = await run(
      code,
      Array.from({ length: 13 }, (_, n) => ({ n })),
    );
    expect(outcomes.map(failure)).toEqual([
      'its result is undefined; a transform returns a record, a list of records, or null',
      'its result is a number; a transform returns a record, a list of records, or null',
      'its result is a string; a transform returns a record, a list of records, or null',
      'item 0 of its result is a list; a transform returns a record, a list of records, or null',
      'item 1 of its result is null; a transform returns a record, a list of records, or null',
      '"a.b" of the result is NaN, which JSON does not have',
      '"f" of the result is a function, which JSON does not have',
      '"m" of the result is an object of the class Map, which JSON does not have',
      '"list.0" of the result is undefined, which JSON does not have',
      '"money" of the result is an object of the class Money, which JSON does not have',
      '"self.self.self" of the result is nested too deeply, or is part of itself',
      '"when" of the result is an invalid date',
      '"s" of the result is a symbol, which JSON does not have',
    ]);
  });
});

describe('failures', () => {
  test('a throw fails its record only, with the message and the line', async () => {
    const code = `export default (record) => {
      if (record.n === 1) return { x: record.name.first.length };
      if (record.n === 2) throw 'a text';
      return record;
    };`;
    const outcomes = await run(code, [{ n: 0 }, { n: 1 }, { n: 2 }, { n: 3 }]);
    expect(outcomes[0]).toEqual(['{"n":0}']);
    expect(failure(outcomes[1])).toMatch(
      /^TypeError: Cannot read properties of undefined \(reading 'first'\) \(tidy\.mjs:2:\d+\)$/,
    );
    expect(failure(outcomes[2])).toBe('threw a text');
    expect(outcomes[3]).toEqual(['{"n":3}']);
  });

  test('a loop without end fails its record after the time limit; the others are done', async () => {
    hooksWith({ seconds: 1 });
    const outcomes = await run(`export default (record) => { while (record.n === 2); return record; }`, [
      { n: 1 },
      { n: 2 },
      { n: 3 },
    ]);
    expect(outcomes).toEqual([['{"n":1}'], { failure: 'did not end within 1 s', place: null }, ['{"n":3}']]);
  });

  test('a promise that never settles is such a loop', async () => {
    hooksWith({ seconds: 1 });
    const outcomes = await run(
      `export default (r) => (r.n === 1 ? r : new Promise(() => {}))`,
      [{ n: 1 }, { n: 2 }, { n: 3 }],
      true,
    );
    // Where a failure stops the sync, the records behind it are not wanted.
    expect(outcomes).toEqual([['{"n":1}'], { failure: 'did not end within 1 s', place: null }]);
  });

  test('records that only take too long together are not at fault', async () => {
    hooksWith({ seconds: 1 });
    const code = `export default (r) => { const end = Date.now() + 150; while (Date.now() < end); return r; }`;
    const running = run(
      code,
      Array.from({ length: 20 }, (_, n) => ({ n })),
    );
    await expect(running).rejects.toThrow(TooSlowError);
    await expect(running).rejects.toThrow(
      'the hook tidy took longer than 1 s for 20 records: make it faster, or raise HIGHWATER_HOOK_TIMEOUT',
    );
  });

  test('a record that needs too much memory fails alone', async () => {
    hooksWith({ megabytes: 32 });
    const code = `export default (r) => { const all = []; while (r.n === 1) all.push(new Array(1e5).fill(r)); return r; }`;
    const outcomes = await run(code, [{ n: 0 }, { n: 1 }, { n: 2 }]);
    expect(outcomes).toEqual([
      ['{"n":0}'],
      { failure: 'needed more than 32 MB of memory', place: null },
      ['{"n":2}'],
    ]);
  });

  test('a hook that ends its thread does not end the worker', async () => {
    const code = `export default (r) => (r.n === 1 ? process.exit() : r)`;
    expect(await run(code, [{ n: 0 }, { n: 1 }, { n: 2 }])).toEqual([
      ['{"n":0}'],
      { failure: 'ended its thread', place: null },
      ['{"n":2}'],
    ]);
  });
});

describe('modules', () => {
  test.each([
    ['export default 7', /has no default export that is a function/],
    ['\n\nexport default (', /SyntaxError: Unexpected end of input \(tidy\.mjs:3\)/],
    ['throw new Error("no luck")', /no luck \(tidy\.mjs:1:7\)/],
    ['import "./gone.mjs"; export default () => null', /Cannot find module .*gone\.mjs/],
    ['process.exit()', /ended its thread/],
  ])('%s cannot be loaded', async (code, message) => {
    const loading = run(code, ['{}']);
    await expect(loading).rejects.toMatchObject({ name: 'ConfigurationError' });
    await expect(loading).rejects.toThrow(message);
    await expect(loading).rejects.toThrow(/transform: the hook tidy cannot be loaded from .*tidy\.mjs/);
  });

  test('a hook that is not there is an error of the configuration', () => {
    expect(() => hooks.find('tidy')).toThrow(/transform: the worker has no file .*tidy\.mjs/);
    for (const name of ['../x', 'a/b', '.', 'x.mjs', ''])
      expect(() => hooks.find(name)).toThrow(/transform: is not a valid name of a hook/);
  });

  test('one name is one file', async () => {
    await write('export default () => null');
    await write('export default () => null', 'tidy.ts');
    expect(() => hooks.find('tidy')).toThrow(/has both .*tidy\.mjs and .*tidy\.ts: remove one/);
  });

  test('TypeScript needs a Node that runs it', async () => {
    await write('export default (record: { n: number }) => ({ m: record.n + 1 });', 'typed.ts');
    const runsTypes = typeof (process.features as { typescript?: unknown }).typescript === 'string';
    if (!runsTypes) {
      expect(() => hooks.find('typed')).toThrow(
        /cannot run .*typed\.ts: Node 22\.18 and later run TypeScript/,
      );
      return;
    }
    const runner = hooks.runnerOf(hooks.find('typed'));
    expect(await runner.run({ records: ['{"n":1}'], stream: 's', parent: null })).toEqual([['{"m":2}']]);
  });

  test('a change of the module, or of what it imports, is another version', async () => {
    await mkdir(folder.file('lib'));
    await write('export const one = 1;', 'lib/one.mjs');
    await write("import { one } from './lib/one.mjs';\nexport default () => ({ one });");
    const before = hooks.find('tidy');
    expect(hooks.find('tidy')).toEqual(before);
    const runner = hooks.runnerOf(before);
    const batch = { records: ['{}'], stream: 's', parent: null };
    expect(await runner.run(batch)).toEqual([['{"one":1}']]);
    await write('export const one = 2;', 'lib/one.mjs');
    const after = hooks.find('tidy');
    expect(after.digest).not.toBe(before.digest);
    expect(await hooks.runnerOf(after).run(batch)).toEqual([['{"one":2}']]);
    expect(hooks.runnerOf(after)).toBe(hooks.runnerOf(after));
  });

  test('sees no environment variables but those that are allowed, and no arguments', async () => {
    hooksWith({ env: { ALLOWED: 'yes' } });
    const code = `export default () => ({ env: { ...process.env }, argv: process.argv.slice(2) })`;
    expect(await run(code, ['{}'])).toEqual([['{"env":{"ALLOWED":"yes"},"argv":[]}']]);
  });

  test('what a hook prints does not reach the output', async () => {
    const code = `export default (r) => (console.log('printed'), console.error('printed'), r)`;
    expect(await run(code, ['{}'])).toEqual([['{}']]);
  });
});

test('a thread that was closed says so, and blames no record', async () => {
  await write('export default () => { for (;;); }');
  const thread = await HookThread.start(folder.file('tidy.mjs'), limits);
  const running = thread.run({ records: ['{}'], stream: 's', parent: null });
  thread.close();
  await expect(running).rejects.toMatchObject({ how: 'closed' });
});

test('the limits come from the environment of the worker', () => {
  expect(hookLimits({})).toEqual({ seconds: 10, megabytes: 256, env: {} });
  const environment = { HIGHWATER_HOOK_TIMEOUT: '1m', HIGHWATER_HOOK_MEMORY: '64', SECRET: 's', TOLD: 't' };
  expect(hookLimits({ ...environment, HIGHWATER_HOOK_ENV: 'TOLD,ABSENT' })).toEqual({
    seconds: 60,
    megabytes: 64,
    env: { TOLD: 't' },
  });
  expect(() => hookLimits({ HIGHWATER_HOOK_TIMEOUT: 'soon' })).toThrow(/HIGHWATER_HOOK_TIMEOUT is "soon"/);
  expect(() => hookLimits({ HIGHWATER_HOOK_MEMORY: '1' })).toThrow(/HIGHWATER_HOOK_MEMORY is "1"/);
});

describe('numbers', () => {
  const passedOn = (text: string, change: (record: never) => object = (record) => record) => {
    const record = readExact(text);
    return writeExact(change(record.value as never), record);
  };

  test.each([
    '{"a":1,"b":[1.0,-0,1E5,{"c":0.10}],"d":1e400}',
    '{"id":9007199254740993,"price":1.50,"rate":0.1234567890123456789012}',
    '{"tiny":0.0000001,"huge":123456789012345678901234567890,"exp":-1.5e-300}',
    '{"__proto__":1.0,"constructor":{"prototype":2.50}}',
    '{ "spaced" : [ 1.0 , "1.0, [2.0" ] , "q":"a\\"b:1.0" }',
  ])('%s is passed on as it came', (text) => {
    const compact = text.replace(/("(?:[^"\\]|\\.)*")|\s+/g, '$1');
    expect(passedOn(text)).toBe(compact);
    expect(passedOn(text, (record: object) => ({ ...record }))).toBe(compact);
  });

  test('a number is a number where JavaScript has the same one', () => {
    const { value } = readExact(
      '{"a":1.50,"b":9007199254740993,"c":0.1234567890123456789,"d":1e400,"e":1e2}',
    );
    const { a, b, c, d, e } = value as { [name: string]: unknown };
    expect([a, b, e]).toEqual([1.5, 9007199254740993n, 100]);
    expect([String(c), String(d)]).toEqual(['0.1234567890123456789', '1e400']);
    expect(() => (c as number) * 2).toThrow(/has more digits than a JavaScript number/);
  });

  test('a changed number is written as JavaScript does; those beside it stay', () => {
    const text = '{"a":1.50,"in":{"b":2.50,"c":3.50},"list":[{"p":1.0},{"p":2.0}]}';
    const changed = passedOn(text, (record: { a: number; in: { b: number } }) => {
      record.in.b += 1;
      return { ...record, a: record.a * 2 };
    });
    expect(changed).toBe('{"a":3,"in":{"b":3.5,"c":3.50},"list":[{"p":1.0},{"p":2.0}]}');
    // An object that is moved as a whole takes the spelling of its numbers along.
    expect(
      passedOn(text, (record: { in: object; list: object[] }) => ({ x: record.in, y: record.list[1] })),
    ).toBe('{"x":{"b":2.50,"c":3.50},"y":{"p":2.0}}');
    expect(passedOn(text, (record: { a: number }) => ({ price: record.a }))).toBe('{"price":1.5}');
  });

  test('bigints and exact numbers are written with their digits', () => {
    expect(passedOn('{"n":1}', () => ({ n: 2n ** 80n }))).toBe('{"n":1208925819614629174706176}');
  });
});
