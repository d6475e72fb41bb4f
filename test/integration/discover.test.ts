/** What `discover` prints is pasted, checked and synced: against imitations of vendors, the reference API and raw bytes. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { readDestination } from '../../src/cli/query.js';
import { loadPlans, openConfiguration } from '../../src/config/index.js';
import type { Json, StreamResult } from '../../src/protocol.js';
import { configurationFor, highwater, PATHS, scratch } from '../helpers/harness.js';
import { LONG } from '../helpers/long.js';
import { imitate, IMITATIONS, RECORDS, TOKEN } from '../helpers/imitations.js';
import { installPlayground, startPlayground } from '../helpers/playground.js';

vi.setConfig({ testTimeout: 120_000 });

type Stream = { [key: string]: Json } & { columns: { [name: string]: string } };
interface Answer {
  status: string;
  streams: {
    stream: string;
    records: number;
    requests: string[];
    columns: { name: string; type: string }[];
  }[];
  errors: { stream: string; message: string }[];
  notes: string[];
}

let folder: Awaited<ReturnType<typeof scratch>>;
beforeAll(async () => {
  folder = await scratch();
});
afterAll(() => folder.remove());

const variables = Object.fromEntries(Object.values(IMITATIONS).map(({ variable }) => [variable, TOKEN]));
const command = (...args: string[]) =>
  highwater(args, {
    cwd: folder.path,
    env: { ...variables, TEMPORAL_ADDRESS: inject('temporalAddress'), HIGHWATER_HOME: folder.path },
  });
const write = async (name: string, content: Json | string) => {
  await writeFile(folder.file(name), typeof content === 'string' ? content : JSON.stringify(content));
  return name;
};

/** Runs discover, and writes what it prints where a user would paste it. */
async function pasted(name: string, ...flags: string[]) {
  const { status, stdout, stderr } = await command('discover', name, ...flags);
  expect(status, stderr).toBe(0);
  await write('pasted.yaml', stdout);
  return { stdout, stderr, configuration: parse(stdout) as { streams: Stream[] } & Stream };
}

/** What a sync of the pasted configuration did. */
async function synced(destination: string): Promise<StreamResult> {
  const { status, stdout, stderr } = await command('run', 'pasted.yaml', '-d', destination, '--json');
  expect(status, stderr).toBe(0);
  const [stream] = (JSON.parse(stdout) as { streams: StreamResult[] }).streams;
  return stream as StreamResult;
}

/** A source that answers `/` with these bytes. */
async function source(body: (page: number) => string) {
  const server = createServer((request, response) => {
    const { searchParams, pathname } = new URL(request.url ?? '', 'http://h');
    if (pathname !== '/') response.writeHead(404).end('no such path');
    else response.end(body(Number(searchParams.get('page') ?? 1)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, stop: () => server.close().closeAllConnections() };
}

const install = await installPlayground();

describe('highwater discover', () => {
  // examples.test.ts runs all of them as they are.
  test.each(Object.entries(IMITATIONS).filter(([file]) => LONG || file === 'hubspot-contacts.yaml'))(
    'finds columns, key and cursor field of %s, and what it prints is synced',
    async (file, { imitation, basePath }) => {
      const { url, stop } = await imitate(imitation);
      try {
        const path = fileURLToPath(new URL(`../../examples/${file}`, import.meta.url));
        const example = (await openConfiguration(path)).content as { [key: string]: Json } & {
          source: { [key: string]: Json };
          streams: Stream[];
        };
        const bare = example.streams.map(
          ({ columns: _, primary_key: __, cursor_field: ___, ...rest }) => rest,
        );
        const name = await write('bare.yaml', {
          ...example,
          source: { ...example.source, base_url: url + (basePath ?? '') },
          streams: bare,
        });
        const { stdout, configuration } = await pasted(name);
        expect(stdout).not.toContain(TOKEN);
        const [found] = configuration.streams;
        const [wanted] = example.streams;
        // Records are looked at as they come: a column may have its value from another member, or from inside of one.
        const members = new Map(
          Object.entries(
            (wanted?.columns ?? {}) as Record<string, string | { type: string; from: string }>,
          ).map(([column, given]) => {
            if (typeof given === 'string') return [column, [column, given]];
            const [member = '', ...inner] = given.from.split('.');
            return [column, [member, inner.length === 0 ? given.type : 'JSON']];
          }),
        );
        expect(found?.['primary_key']).toBe(members.get('id')?.[0]);
        if (wanted?.['cursor_field'] !== undefined)
          expect(found?.['cursor_field']).toBe(members.get(String(wanted['cursor_field']))?.[0]);
        // A SHORT or an INT cannot be told from a LONG by a sample.
        const types = [...members.values()].map(([member = '', type = '']) => [
          member,
          type.replace('INT', 'LONG'),
        ]);
        expect(found?.columns).toMatchObject(
          Object.fromEntries(types.filter(([, type]) => !/DECIMAL/.test(type ?? ''))),
        );
        expect((await command('check', 'pasted.yaml')).status).toBe(0);
        expect(await synced(`${file}.duckdb`)).toMatchObject({ rows: RECORDS });
      } finally {
        stop();
      }
    },
  );

  test.skipIf(!install.available)(
    'finds the reference table again, in the flat and in the full form',
    async () => {
      if (!install.available) throw new Error(install.reason);
      const playground = await startPlayground(install.python);
      try {
        const columns = {
          ...{
            id: 'STRING',
            name: 'STRING',
            email: 'STRING',
            address: 'STRING',
            company: 'STRING',
            job: 'STRING',
          },
          ...{ createdAt: 'UTC_DATETIME', updatedAt: 'UTC_DATETIME' },
        };
        for (const strategy of ['keyset', 'offset', 'timestamp', 'step_size'] as const) {
          await write('flat.yaml', configurationFor(strategy, playground.url));
          const flat = await pasted('flat.yaml', '--sample', '60');
          expect(flat.configuration).toMatchObject({ strategy, primary_key: 'id', columns });
          expect(flat.stdout).toContain('# Found by "highwater discover" in 60 records of ');
        }
        await write('full.yaml', {
          source: { base_url: playground.url },
          streams: [{ name: 'user', path: PATHS.keyset, strategy: 'keyset' }],
        });
        const { stdout, configuration } = await pasted('full.yaml');
        expect(configuration.streams[0]).toMatchObject({
          cursor_field: 'updatedAt',
          primary_key: 'id',
          columns,
        });
        expect(stdout).toContain(
          'cursor_field: updatedAt # by its name, the time of the last change; other times: createdAt\n',
        );
        expect(stdout).toMatch(/primary_key: id # present and unique in \d+ records\n/);
        await write('inferred.yaml', {
          source: { base_url: playground.url },
          streams: [
            {
              name: 'user',
              path: PATHS.keyset,
              strategy: 'keyset',
              primary_key: 'id',
              cursor_field: 'updatedAt',
            },
          ],
        });
        const check = await command('check', 'inferred.yaml');
        expect(check.stdout.replace(/\s+/g, ' ')).toContain(
          'columns inferred from the records: id, name, email',
        );
        expect(await synced('reference.duckdb')).toMatchObject({ rows: 200, warnings: [] });
      } finally {
        await playground.stop();
      }
    },
  );

  test('keeps every digit, and says why a type was chosen', async () => {
    const record = (i: number) =>
      `{"Id":${9_007_199_254_740_990n + BigInt(i)},"large":${12345678901234567890123n + BigInt(i)},` +
      `"price":${i}.25,"exact":0.12345678901234567${i},"mixed":${i % 2 === 0 ? i : `"t${i}"`},"ok":true,` +
      `"day":"2026-01-0${i}","local":"2026-01-01 10:00:0${i}","zoned":"2026-01-01T10:00:0${i}.5+02:00",` +
      `"nano":"2026-01-01T00:00:00.00000000${i}Z","list":[${i}],"nested":{"a":1e400},"never":null,` +
      `"epoch":17672256${i}0,"rare":${i === 1 ? '1' : 'null'},"1e":${i}e3,"a b":"","A B":"","":1}`;
    const api = await source((page) =>
      page > 2 ? '[]' : `[${[1, 2, 3].map((i) => record(i + (page - 1) * 3)).join(',')}]`,
    );
    try {
      const stream = { name: 'digits', strategy: 'page_number', records: '$' };
      await write('digits.yaml', { source: { base_url: api.url }, streams: [stream] });
      const { stdout, stderr, configuration } = await pasted('digits.yaml');
      expect(configuration.streams[0]).toEqual({
        ...stream,
        primary_key: 'Id',
        columns: {
          ...{
            Id: 'LONG',
            large: 'DECIMAL(38,0)',
            price: 'DOUBLE',
            exact: 'DECIMAL(38,18)',
            mixed: 'STRING',
          },
          ...{
            ok: 'BOOLEAN',
            day: 'NAIVE_DATE',
            local: 'NAIVE_DATETIME',
            zoned: 'UTC_DATETIME',
            nano: 'STRING',
          },
          ...{
            list: 'JSON',
            nested: 'JSON',
            never: 'STRING',
            epoch: 'LONG',
            rare: 'LONG',
            '1e': 'DOUBLE',
            'a b': 'STRING',
          },
        },
      });
      for (const line of [
        'large: DECIMAL(38,0) # whole numbers beyond 64 bits',
        'exact: DECIMAL(38,18) # more digits than a DOUBLE can hold',
        'rare: LONG # missing in 5 of 6',
        'never: STRING # no values in the sample: the type is a guess',
        'local: NAIVE_DATETIME # has no time zone',
        'epoch: LONG # looks like a Unix time',
      ])
        expect(stdout).toContain(`${line}\n`);
      expect(stderr).toContain(
        'omitted, because the name is not allowed or differs from another only in case: "A B", ""',
      );
      expect(await synced('digits.duckdb')).toMatchObject({ rows: 6 });
      const { rows } = await readDestination(
        folder.file('digits.duckdb'),
        `SELECT "Id"::VARCHAR, large::VARCHAR, exact::VARCHAR, nano, zoned = '2026-01-01T08:00:06.5Z'::TIMESTAMPTZ FROM digits ORDER BY "Id" DESC LIMIT 1`,
      );
      expect(rows).toEqual([
        [
          '9007199254740996',
          '12345678901234567890129',
          '0.123456789012345676',
          '2026-01-01T00:00:00.000000006Z',
          true,
        ],
      ]);
    } finally {
      api.stop();
    }
  });

  test('takes two columns for a key where none alone will do, and says so where there is no key', async () => {
    const rows = [0, 1, 2, 3].map((i) => ({ order_id: i >> 1, item_id: i % 2, note: 'x' }));
    const api = await source(() => JSON.stringify({ data: rows }));
    const none = await source(() => JSON.stringify({ data: [{ a: 1.5 }, { a: 2.5 }] }));
    try {
      const stream = { name: 'lines', strategy: 'timestamp' };
      await write('lines.yaml', { source: { base_url: api.url }, streams: [stream] });
      const { stdout, stderr } = await pasted('lines.yaml');
      expect(stdout).toContain(
        'primary_key: [ order_id, item_id ] # the pair is unique in 4 records; neither column is alone',
      );
      expect(stderr).toContain('lines: the strategy timestamp needs a column of times, and there is none');
      expect(stderr).toContain('still missing: streams[0].cursor_field: is required');
      await write('none.yaml', { source: { base_url: none.url }, streams: [stream] });
      const keyless = await pasted('none.yaml');
      expect(keyless.stderr).toContain('set primary_key yourself');
      expect(keyless.stderr).toContain(
        'still missing: streams[0].primary_key[0]: "id" is not one of the columns',
      );
    } finally {
      api.stop();
      none.stop();
    }
  });

  test('keeps columns that are taken from elsewhere in the record, and a key made of one', async () => {
    const rows = [1, 2, 3].map((i) => ({ node: { no: i }, paid: i, text: 'x' }));
    const api = await source(() => JSON.stringify({ data: rows }));
    try {
      const columns = { key: { type: 'INT', from: 'node.no' } };
      const stream = {
        name: 'nested',
        strategy: 'timestamp',
        cursor_field: 'text',
        primary_key: 'key',
        columns,
      };
      await write('nested.yaml', { source: { base_url: api.url }, streams: [stream] });
      const { configuration } = await pasted('nested.yaml');
      expect(configuration.streams).toEqual([
        { ...stream, columns: { ...columns, node: 'JSON', paid: 'LONG', text: 'STRING' } },
      ]);
    } finally {
      api.stop();
    }
  });

  test('of a stream of each row of another reads those of the first row', async () => {
    const server = createServer((request, response) => {
      const records = request.url?.startsWith('/of/7')
        ? [{ id: 70, at: '2026-01-01T00:00:00Z' }]
        : [{ id: 7, name: 'seven' }];
      response.end(JSON.stringify({ data: records }));
    });
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    try {
      await write('parents.yaml', {
        source: { base_url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
        streams: [
          {
            name: 'groups',
            strategy: 'timestamp',
            path: '/groups',
            columns: { id: 'LONG' },
            cursor_field: 'id',
          },
          { name: 'members', strategy: 'offset', path: '/of/${parent:id}', parent: { stream: 'groups' } },
        ],
      });
      const { configuration, stderr } = await pasted('parents.yaml', '--stream', 'members');
      expect(stderr).toMatch(/^GET http:\/\/127\.0\.0\.1:\d+\/of\/7\?/);
      expect(configuration.streams[1]).toMatchObject({
        primary_key: 'id',
        columns: { id: 'LONG', at: 'UTC_DATETIME' },
      });
    } finally {
      server.close().closeAllConnections();
    }
  });

  test('reads no more than the sample, even of an answer of any size, and leaves what is declared', async () => {
    const api = await source((page) => {
      const records = Array.from({ length: 50_000 }, (_, i) => ({
        id: i + page * 100_000,
        seen: i,
        text: 'x'.repeat(100),
      }));
      return JSON.stringify({ data: records });
    });
    try {
      const columns = { id: 'STRING', gone: 'LONG' };
      await write('large.yaml', {
        source: { base_url: api.url },
        streams: [{ name: 'l', strategy: 'page_number', columns, primary_key: 'seen' }],
      });
      const answer = await command('discover', 'large.yaml', '--sample', '25', '--json');
      expect(JSON.parse(answer.stdout)).toMatchObject({
        status: 'found',
        streams: [
          {
            stream: 'l',
            records: 25,
            requests: [`GET ${api.url}/?page=1`],
            primaryKeys: [{ columns: ['id'] }, { columns: ['seen'] }],
          },
        ],
        configuration: {
          streams: [
            { primary_key: 'seen', columns: { id: 'STRING', gone: 'LONG', seen: 'LONG', text: 'STRING' } },
          ],
        },
      });
      const { stdout } = await pasted('large.yaml', '--sample', '25');
      expect(stdout).toContain('id: STRING # the sample looks like LONG\n');
      expect(stdout).toContain('gone: LONG # in no record of the sample\n');
    } finally {
      api.stop();
    }
  });

  test('of several streams prints those that can be read, says why not the others, and exits 1', async () => {
    const api = await source(() => JSON.stringify({ data: [{ id: 1 }] }));
    try {
      await write('two.yaml', {
        source: { base_url: api.url },
        streams: [
          { name: 'good', strategy: 'offset' },
          { name: 'bad', strategy: 'offset', path: '/nothing' },
          { name: 'empty', strategy: 'offset', records: 'none' },
        ],
      });
      const { status, stdout, stderr } = await command('discover', 'two.yaml');
      expect(status).toBe(1);
      expect(stdout).toContain('id: LONG');
      expect(stderr).toMatch(/^bad: the source answered 404 Not Found: no such path$/m);
      expect(stderr).toContain('highwater: could not read 2 of 3 streams: bad, empty\n');
      const one = await command('discover', 'two.yaml', '--stream', 'good', '--json');
      const answer = JSON.parse(one.stdout) as Answer;
      expect(answer).toMatchObject({ status: 'found', streams: [{ stream: 'good' }], errors: [] });
      expect((await command('discover', 'two.yaml', '--stream', 'goood')).stderr).toContain(
        'did you mean "good"?',
      );
      const only = await command('discover', 'two.yaml', '--stream', 'bad');
      expect(only).toMatchObject({ status: 1, stdout: '' });
      expect(only.stderr).toMatch(/^highwater: the source answered 404/);
    } finally {
      api.stop();
    }
  });

  test.each([
    [
      'kept.yaml',
      (url: string) => `# Ask Ann first.
source:
  base_url: ${url} # ours
streams:
  # All of them.
  - name: things
    path: /
    strategy: page_number # by page
    columns: { name: STRING }
# The end.
`,
    ],
    [
      'kept.json',
      (url: string) => `{
  // Ask Ann first.
  "source": { "base_url": "${url}" }, // ours
  "streams": [{ "name": "things", "path": "/", "strategy": "page_number" }]
}
`,
    ],
  ])('--write edits the file in place and keeps comments and order: %s', async (name, text) => {
    const api = await source((page) =>
      JSON.stringify({ data: page > 1 ? [] : [{ id: 1, name: 'a', changed_at: '2026-01-01T00:00:00Z' }] }),
    );
    try {
      const before = text(api.url);
      await write(name, before);
      const printed = await command('discover', name);
      const first = await command('discover', name, '--write');
      expect(first).toMatchObject({ status: 0, stdout: `Wrote what was found in 1 stream to ${name}.\n` });
      const after = await readFile(folder.file(name), 'utf8');
      // Without --write it prints the same, in the format of the file.
      if (name === 'kept.json') expect(printed.stdout).toBe(after);
      // Every line of before is still there, in the same order, or its members are.
      const comments = (of: string) => of.match(/(#|\/\/) (?!Found by)[A-Z][^\n]*|(#|\/\/) (ours|by page)/g);
      expect(comments(after)).toEqual(comments(before));
      const { plans } = (await loadPlans(folder.file(name))).plans;
      expect(plans).toMatchObject([
        {
          cursorField: 'changed_at',
          table: { primaryKey: ['id'], columns: { id: 'LONG', name: 'STRING', changed_at: 'UTC_DATETIME' } },
        },
      ]);
      const again = await command('discover', name, '--write');
      expect(again.stdout).toBe(`${name} already says all that was found; nothing was written.\n`);
      expect(await readFile(folder.file(name), 'utf8')).toBe(after);
    } finally {
      api.stop();
    }
  });

  test('refuses what is wrong besides what it is there to find, with file, line and column', async () => {
    await write(
      'wrong.yaml',
      'source: { base_url: "http://h" }\nstreams:\n  - name: a\n    strateg: offset\n',
    );
    const { status, stderr } = await command('discover', 'wrong.yaml', '--sample', '10');
    expect(status).toBe(1);
    expect(stderr).toContain(
      '  wrong.yaml:4:5  streams[0].strateg: is not a known key (did you mean "strategy"?)\n',
    );
    expect(stderr).not.toContain('columns');
    expect((await command('discover', 'wrong.yaml', '--sample', 'many')).stderr).toContain(
      "option '--sample <n>' argument 'many' is invalid. Give a whole number from 1 to 100000.",
    );
  });
});
