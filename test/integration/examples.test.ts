/** Each example runs as it is, but for its address, against an imitation of the vendor that it is for. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { jsonSchema, openConfiguration } from '../../src/config/index.js';
import type { Json } from '../../src/protocol.js';
import { highwater, scratch } from '../helpers/harness.js';
import { imitate, IMITATIONS, RECORDS, TOKEN } from '../helpers/imitations.js';
import { startSystem, type System } from '../helpers/system.js';

const EXAMPLES = fileURLToPath(new URL('../../examples/', import.meta.url));
type Example = { source: { [key: string]: Json }; streams: { name: string }[] };

describe('an example', () => {
  let system: System;
  let folder: Awaited<ReturnType<typeof scratch>>;
  beforeAll(async () => {
    folder = await scratch();
    const variables = Object.values(IMITATIONS).map(({ variable }) => [variable, TOKEN]);
    system = await startSystem(inject('temporalAddress'), Object.fromEntries(variables) as NodeJS.ProcessEnv);
  });
  afterAll(async () => {
    await system.stop();
    await folder.remove();
  });

  /** The example with another address and destination, as a file. */
  async function configured(
    file: string,
    url: string,
  ): Promise<{ configuration: { [key: string]: Json }; path: string }> {
    const example = (await openConfiguration(`${EXAMPLES}${file}`)).content as Example & {
      [key: string]: Json;
    };
    const configuration = {
      ...example,
      source: { ...example.source, base_url: url + (IMITATIONS[file]?.basePath ?? '') },
      destination: system.destination,
    };
    const path = folder.file(`${file}.json`);
    await writeFile(path, JSON.stringify(configuration));
    return { configuration, path };
  }

  test('is there for every imitation, and the other way round', async () => {
    const files = (await readdir(EXAMPLES)).filter((name) => name.endsWith('.yaml'));
    expect(files.sort()).toEqual(Object.keys(IMITATIONS).sort());
  });

  test.each(Object.entries(IMITATIONS))(
    '%s reads everything, and then what is new',
    async (file, { imitation, again }) => {
      const { url, stop } = await imitate(imitation);
      try {
        const { configuration } = await configured(file, url);
        expect(await system.sync(configuration)).toMatchObject({ rows: RECORDS, warnings: [] });
        expect(await system.sync(configuration)).toMatchObject({ rows: 0, records: again });
        const [stream] = (configuration as unknown as Example).streams;
        expect(await system.query(`SELECT count(DISTINCT id)::INTEGER FROM "${stream?.name ?? ''}"`)).toEqual(
          [[RECORDS]],
        );
      } finally {
        stop();
      }
    },
  );

  test('is checked against the live source, which finds what does not fit', async () => {
    const { imitation, variable } = IMITATIONS['github-issues.yaml'] as (typeof IMITATIONS)[string];
    const { url, stop } = await imitate(imitation);
    try {
      const { path } = await configured('github-issues.yaml', url);
      const right = await highwater(['check', path], { env: { [variable]: TOKEN } });
      expect(right.stdout).toMatch(/✓ GET .*per_page=100: 100 records/);
      expect(right.stdout).toMatch(/✓ primary key id: present and unique in every record/);
      expect(right.stdout).toMatch(/✓ cursor field updated_at: ascending/);
      expect(right.stdout).toMatch(/✓ the filter includes the requested value/);
      expect(right.status, right.stderr).toBe(0);
      const wrong = await highwater(['check', path, '--json'], { env: { [variable]: 'another' } });
      expect(wrong.status).toBe(1);
      expect(JSON.parse(wrong.stdout)).toMatchObject({ status: 'problems' });
      expect(wrong.stdout).toContain('401');
      const preview = await highwater(['preview', path, '--limit', '3'], { env: { [variable]: TOKEN } });
      expect(preview.status, preview.stderr).toBe(0);
      expect(preview.stdout).toContain('Issue 2');
      expect(preview.stdout).not.toContain('Issue 3');
      for (const { stdout, stderr } of [right, wrong, preview]) expect(stdout + stderr).not.toContain(TOKEN);
    } finally {
      stop();
    }
  });

  test('with a recording has the expected rows, without the source and its credentials', async () => {
    const recordings = (await readdir(EXAMPLES)).filter((name) => name.endsWith('.recording'));
    expect(recordings).toEqual(['github-issues.recording']);
    const file = `${EXAMPLES}github-issues.yaml`;
    const tested = await highwater(['test', file], { env: { GITHUB_TOKEN: '' } });
    expect(tested.stderr).toBe('');
    expect(tested.stdout).toBe('✓ issues: 6 rows, as expected\n');
    expect(tested.status).toBe(0);
  });

  test('is completed by editors with the schema that is checked in', async () => {
    const schema = await readFile(new URL('../../highwater.schema.json', import.meta.url), 'utf8');
    expect(JSON.parse(schema)).toEqual(JSON.parse(JSON.stringify(jsonSchema())));
  });
});
