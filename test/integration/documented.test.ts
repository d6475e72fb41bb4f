/** What the documents show of `init`, `discover`, `import-state` and of problems is what these commands print. */
import { readFile, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { highwater, scratch } from '../helpers/harness.js';
import { installPlayground, startPlayground } from '../helpers/playground.js';

interface Shown {
  document: string;
  files: Record<string, string>;
  command: string;
  output: string;
}

/** The examples: `$ cat FILE` shows a file that the command is given, what follows it is what the command prints. */
async function examples(): Promise<Shown[]> {
  const shown: Shown[] = [];
  for (const document of ['README.md', 'docs/configuration.md', 'docs/operating.md']) {
    const text = await readFile(new URL(`../../${document}`, import.meta.url), 'utf8');
    for (const [, block = ''] of text.matchAll(/^```\n(\$ [\s\S]*?)^```$/gm)) {
      const steps = block.split(/^\$ /m).slice(1);
      const files: Record<string, string> = {};
      for (const step of steps) {
        const [line = '', ...rest] = step.split('\n');
        const output = rest.join('\n').trimEnd();
        if (line.startsWith('cat ')) files[line.slice(4)] = `${output}\n`;
        else if (/^npx highwater (init|discover|import-state|run bad)/.test(line)) {
          shown.push({ document, files: { ...files }, command: line.slice('npx highwater '.length), output });
        }
      }
    }
  }
  return shown;
}

const REFERENCE = 'http://127.0.0.1:5001';
const all = await examples();
const install = await installPlayground();

describe.skipIf(!install.available)(
  `the documents${install.available ? '' : ` (skipped: ${install.reason})`}`,
  () => {
    test('show each of the new commands', () => {
      expect(all.map(({ command }) => command.split(' ')[0]).sort()).toEqual(
        ['discover', 'import-state', 'init', 'run'].sort(),
      );
    });

    test.each(all)('show what "highwater $command" prints', async ({ files, command, output }) => {
      if (!install.available) throw new Error(install.reason);
      const playground = await startPlayground(install.python);
      const folder = await scratch();
      try {
        for (const [name, content] of Object.entries(files)) {
          await writeFile(folder.file(name), content.replaceAll(REFERENCE, playground.url));
        }
        const { stdout, stderr } = await highwater(command.split(' '), { cwd: folder.path });
        const printed = (stdout === '' ? stderr : stdout)
          .replaceAll(playground.url, REFERENCE)
          .replaceAll(folder.path, '/home/me');
        // The reference makes up other records at each start, and ties among them cost a request.
        const steady = (text: string) => text.trimEnd().replace(/\d+ requests/, 'n requests');
        expect(steady(printed)).toBe(steady(output));
      } finally {
        await playground.stop();
        await folder.remove();
      }
    });
  },
);
