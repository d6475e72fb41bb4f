/** Writes the commands in `docs/cli.md`, between markers, from the command line itself. */
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { format, resolveConfig } from 'prettier';
import { COMMANDS, wholeProgram } from '../src/cli/program.js';
import { markdownTable } from './markdown.js';

export const CLI_PAGE = fileURLToPath(new URL('../docs/cli.md', import.meta.url));

/** Returns the page of commands with its regenerated part. */
export async function cliPageFrom(text: string): Promise<string> {
  const program = await wholeProgram();
  const sections = Object.entries(COMMANDS).map(([group, names]) => {
    const commands = program.commands.filter((command) => command.name() in names);
    const summary = commands.map((command) => [
      `[\`${command.name()}\`](#${anchor(command)})`,
      escaped(command.description()),
    ]);
    const each = commands.flatMap((command) => [command, ...command.commands]).map(section);
    return [`## ${group}`, markdownTable(['command', ''], summary), ...each].join('\n\n');
  });
  const filled = text.replace(
    /(<!-- commands -->)[\s\S]*?(<!-- \/commands -->)/,
    (_, begin: string, end: string) => `${begin}\n\n${sections.join('\n\n')}\n\n${end}`,
  );
  return format(filled, { ...(await resolveConfig(CLI_PAGE)), parser: 'markdown' });
}

/** Returns the words that call a command: `highwater state get`. */
function nameOf(command: Command): string {
  return command.parent === null ? command.name() : `${nameOf(command.parent)} ${command.name()}`;
}

const anchor = (command: Command): string => nameOf(command).replaceAll(' ', '-');

function section(command: Command): string {
  const help = command.createHelp();
  const { notes, examples } = afterHelp(command);
  const options = help.visibleOptions(command).filter(({ long }) => long !== '--help');
  const rows = [
    ...help
      .visibleArguments(command)
      .map((argument) => [`\`${argument.name()}\``, escaped(help.argumentDescription(argument))]),
    ...options.map((option) => [`\`${option.flags}\``, escaped(help.optionDescription(option))]),
  ];
  const hasOwn = command.commands.length > 0;
  return [
    `### ${nameOf(command)}`,
    escaped(command.description()),
    hasOwn ? '' : fence(help.commandUsage(command)),
    rows.length === 0 ? '' : markdownTable(['argument or option', ''], rows),
    ...notes,
    examples === '' ? '' : fence(examples),
  ]
    .filter((part) => part !== '')
    .join('\n\n');
}

/** Returns the text that a command adds to its help: paragraphs in Markdown, and the examples. */
function afterHelp(command: Command): { notes: string[]; examples: string } {
  let whole = '';
  command.configureOutput({ writeOut: (text) => void (whole += text) }).outputHelp();
  const [, ...blocks] = whole
    .slice(whole.lastIndexOf('display help for command'))
    .split(/\n{2,}/)
    .map((block) => block.trimEnd());
  const notes: string[] = [];
  let examples = '';
  for (const block of blocks) {
    const [first = '', ...rest] = block.split('\n');
    if (/^Examples?:$/.test(first)) examples = unindented(rest);
    else if (rest.some((line) => line.startsWith('  '))) notes.push(escaped(first), fence(unindented(rest)));
    else if (!block.startsWith('Exit codes: 0 done')) notes.push(escaped(block.replaceAll('\n', ' ').trim()));
  }
  return { notes: notes.filter((note) => note !== ''), examples };
}

const unindented = (lines: string[]): string => lines.map((line) => line.replace(/^ {2}/, '')).join('\n');

const fence = (text: string): string => `\`\`\`sh\n${text}\n\`\`\``;

/** Text of the help in Markdown: names with underscores are code. */
const escaped = (text: string): string =>
  text
    .replace(/[\\*<>`[\]]/g, (character) => `\\${character}`)
    .replace(/(?<![\w'/])\w+_\w+(?![\w*'])/g, (name) => `\`${name}\``);
