import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** One instruction of the Dockerfile, its lines joined. */
export interface Instruction {
  name: string;
  rest: string;
}

/** The stages of our Dockerfile: a list of instructions each, `FROM` first. */
export function stages(): Instruction[][] {
  const text = readFileSync(fileURLToPath(new URL('../../Dockerfile', import.meta.url)), 'utf8');
  const lines = text
    .replace(/^#.*\n/gm, '')
    .replace(/\\\n\s*/g, '')
    .split('\n')
    .filter((line) => line.trim() !== '');
  const all = lines.map((line): Instruction => {
    const [, name = '', rest = ''] = /^(\S+)\s+(.*)$/.exec(line) ?? [];
    return { name, rest };
  });
  const found: Instruction[][] = [];
  for (const instruction of all) {
    if (instruction.name === 'FROM') found.push([]);
    found.at(-1)?.push(instruction);
  }
  return found;
}

export const all = (stage: readonly Instruction[], name: string): string[] =>
  stage.filter((instruction) => instruction.name === name).map(({ rest }) => rest);

export const last = (stage: readonly Instruction[], name: string): string => all(stage, name).at(-1) ?? '';

/** The variables that a stage sets. */
export const environmentOf = (stage: readonly Instruction[]): { [name: string]: string } =>
  Object.fromEntries(
    all(stage, 'ENV').flatMap((rest) =>
      rest.split(/\s+/).map((pair): [string, string] => {
        const at = pair.indexOf('=');
        return [pair.slice(0, at), pair.slice(at + 1)];
      }),
    ),
  );

/** The parts of an instruction in exec form. */
export const execForm = (rest: string): string[] => JSON.parse(rest.slice(rest.indexOf('['))) as string[];
