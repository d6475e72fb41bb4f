/**
 * Compiles `src/sources/assembly` into `src/sources/record-walker.wasm.ts`, where it needs no file beside it. That file is
 * kept with the sources, so that nobody needs the compiler who does not change the walker; a test says when it is old.
 */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const SOURCE = 'src/sources/assembly/record-walker.ts';
export const COMPILED = fileURLToPath(new URL('../src/sources/record-walker.wasm.ts', import.meta.url));

interface Compiler {
  main: (
    args: string[],
    options: { writeFile: (name: string, contents: Uint8Array) => void },
  ) => Promise<{ error: Error | null; stderr: { toString: () => string } }>;
}
/** Not named in so many words: its types would change those of arrays everywhere. */
const COMPILER: string = 'assemblyscript/asc';

/** @throws {Error} with what the compiler says. */
export async function compiled(): Promise<string> {
  const { default: asc } = (await import(COMPILER)) as { default: Compiler };
  let wasm = new Uint8Array();
  const { error, stderr } = await asc.main(
    [
      ...[SOURCE, '--outFile', 'walker.wasm', '--runtime', 'stub', '-O3', '--noAssert', '--enable', 'simd'],
      // 1.5 MiB, of which the last MiB is for what is walked; nothing is ever allocated.
      ...['--memoryBase', '512', '--initialMemory', '24', '--maximumMemory', '24', '--use', 'abort='],
      ...['--baseDir', fileURLToPath(new URL('..', import.meta.url))],
    ],
    {
      writeFile: (_, contents) => {
        wasm = Buffer.from(contents);
      },
    },
  );
  if (error !== null) throw new Error(`${error.message}\n${stderr.toString()}`);
  return [
    `/** Made by \`npm run assembly\` from ${SOURCE}. */`,
    '// prettier-ignore',
    `export const WALKER =\n  '${Buffer.from(wasm).toString('base64')}';`,
    '',
  ].join('\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(COMPILED, await compiled());
