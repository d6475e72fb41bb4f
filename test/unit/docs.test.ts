/** What is made from the schema of configurations is up to date. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { documented } from '../../src/config/full-schema.js';
import {
  DOCUMENT,
  documentFrom,
  MONITORING,
  monitoringFrom,
  SCHEMA,
  schemaText,
  undescribed,
} from '../../scripts/docs.js';
import { CLI_PAGE, cliPageFrom } from '../../scripts/docs-cli.js';

const REMEDY = 'run "npm run docs"';

describe('docs/configuration.md', () => {
  const document = readFileSync(DOCUMENT, 'utf8');

  it('has the tables of keys that the schema makes', async () => {
    expect(document, REMEDY).toBe(await documentFrom(document));
  });

  it('names every key', () => {
    for (const shape of Object.values(documented)) {
      for (const key of Object.keys(shape)) expect(document, REMEDY).toContain(`\`${key}\``);
    }
  });

  it('is out of date as soon as a table is changed by hand; what stands around the tables is kept', async () => {
    const changed = document
      .replace('| `keyset`', '| `keyset!`')
      .replace('# Configuration\n', '# Configuration!\n');
    const again = await documentFrom(changed);
    expect(changed).not.toBe(again);
    expect(again).toBe(document.replace('# Configuration\n', '# Configuration!\n'));
  });

  it('may ask for no table that there is not', async () => {
    await expect(documentFrom('<!-- keys: sauce -->\n<!-- /keys -->\n')).rejects.toThrow(
      'asks for the keys of "sauce"; there are flat; flat, by strategy; full; sync; source; notify; stream; stream, by strategy',
    );
  });
});

it('docs/monitoring.md has the table of metrics that the code makes', async () => {
  const text = readFileSync(MONITORING, 'utf8');
  expect(text, REMEDY).toContain('highwater_rows_total');
  expect(text, REMEDY).toBe(await monitoringFrom(text));
});

it('docs/cli.md has the commands with their options and examples', async () => {
  const text = readFileSync(CLI_PAGE, 'utf8');
  expect(text, REMEDY).toContain('### highwater schedule create');
  expect(text, REMEDY).toBe(await cliPageFrom(text));
});

it('the schema says of every key what it means', () => {
  expect(undescribed()).toEqual([]);
});

it('highwater.schema.json is the schema', () => {
  expect(JSON.parse(readFileSync(SCHEMA, 'utf8')), REMEDY).toEqual(JSON.parse(schemaText()));
});
