import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { compareTables, expectationText, readExpectation } from './comparison.js';
import { RecordingError } from './errors.js';
import { expectationFile } from './folder.js';
import type { TableRows } from './tables.js';
import type { TestedTable } from './test-recording.js';

/** The files with the expected rows of a recording's tables. */
export class Expectations {
  constructor(private readonly folder: string) {}

  /**
   * Writes rows as the expected ones.
   * @param isAll whether these are all tables: files of others are removed.
   * @returns the files.
   */
  async write(tables: readonly TableRows[], isAll: boolean): Promise<string[]> {
    const files = tables.map(({ name }) => expectationFile(this.folder, name));
    await mkdir(join(this.folder, 'expected'), { recursive: true });
    for (const file of isAll ? await this.others(tables) : []) await rm(file);
    await Promise.all(tables.map((table, i) => writeFile(files[i] ?? '', expectationText(table))));
    return files;
  }

  /**
   * Compares rows with the expected ones.
   * @param isAll whether these are all tables: one that is expected and not there differs.
   * @throws {RecordingError} where nothing is expected of a table.
   */
  async compare(tables: readonly TableRows[], isAll: boolean): Promise<TestedTable[]> {
    const compared = await Promise.all(
      tables.map(async (table) => {
        const file = expectationFile(this.folder, table.name);
        if (!existsSync(file))
          throw new RecordingError(
            `there are no expected rows for ${table.name} (${file}): write them with --update, and read them`,
          );
        const expected = readExpectation(file, await readFile(file, 'utf8'));
        return { ...table, difference: compareTables(expected, table) };
      }),
    );
    for (const file of isAll ? await this.others(tables) : []) {
      const expected = readExpectation(file, await readFile(file, 'utf8'));
      const { table, key } = expected;
      const gone = { name: basename(file, '.json'), table, key, columns: {}, rows: [], rejected: [] };
      compared.push({ ...gone, difference: compareTables(expected, gone) });
    }
    return compared;
  }

  /** Files of other tables. */
  private async others(tables: readonly TableRows[]): Promise<string[]> {
    const known = tables.map(({ name }) => basename(expectationFile(this.folder, name)));
    const folder = dirname(expectationFile(this.folder, 'any'));
    const names = existsSync(folder) ? await readdir(folder) : [];
    return names
      .filter((name) => name.endsWith('.json') && !known.includes(name))
      .sort()
      .map((name) => join(folder, name));
  }
}
