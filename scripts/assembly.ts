/**
 * Compiles `src/sources/assembly` to `src/sources/record-walker.wasm.ts`, which embeds the module. The output is
 * committed, so that only changes to the walker need the compiler; a test fails when it is out of date.
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
/** Typed as a string, since the package's types would change those of arrays everywhere. */
const COMPILER: string = 'assemblyscript/asc';

/** Returns the compiled module. @throws {Error} with the compiler's messages. */
export async function compiled(): Promise<string> {
  const { default: asc } = (await import(COMPILER)) as { default: Compiler };
  let wasm = new Uint8Array();
  const { error, stderr } = await asc.main(
    [
      ...[SOURCE, '--outFile', 'walker.wasm', '--runtime', 'stub', '-O3', '--noAssert', '--enable', 'simd'],
      // 1.5 MiB, the last MiB of which holds the input; nothing is ever allocated.
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
