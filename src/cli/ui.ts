import { randomBytes } from 'node:crypto';
import { spawn } from 'node:child_process';
import { Command } from 'commander';
import { HighwaterError } from '../errors.js';
import { Details } from '../ui/details.js';
import { servePage } from '../ui/server.js';
import type { Action } from '../ui/view.js';
import { Watch } from '../ui/watch.js';
import { isLoopback } from '../trust/policy.js';
import { untilInterrupted } from './interrupted.js';
import { connect, meansOf } from './observing.js';
import { asPort, collect, note, print } from './output.js';
import { answered } from './places.js';

interface Options {
  port: number;
  host: string;
  actions?: boolean;
  open?: boolean;
  destination?: string[];
  json?: boolean;
}

export function uiCommand(): Command {
  return new Command('ui')
    .description('Serve a page about all syncs on this machine, until Ctrl-C.')
    .option('--port <n>', 'the port; 0 takes any free port', asPort, 8333)
    .option(
      '--host <address>',
      'the address to listen on; beyond loopback, every reader needs the token',
      '127.0.0.1',
    )
    .option('--actions', 'let the page trigger, pause and resume syncs, and approve and reject deletes')
    .option('--open', 'open the page in the browser')
    .option(
      '-d, --destination <address>',
      'a destination that the page may read, if the Temporal server is another machine; repeatable (default: $HIGHWATER_DESTINATION)',
      collect,
    )
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
The page shows each sync with its state, lag, rows, passes, waits, quarantined records and schema changes. It reads
Temporal and the destinations, and changes nothing unless you give --actions. With --actions, or beyond loopback, the
printed address contains a token; set HIGHWATER_UI_TOKEN to choose it.

Examples:
  highwater ui --open
  highwater ui --actions
  HIGHWATER_UI_TOKEN=$(openssl rand -hex 24) highwater ui --host 0.0.0.0`,
    )
    .action(ui);
}

/** The page cannot be served as the user asks. */
class PageRefusedError extends HighwaterError {
  override readonly name = 'PageRefusedError';
}

const TOKEN_LEAST = 16;

async function ui(options: Options): Promise<void> {
  const given = process.env['HIGHWATER_UI_TOKEN'] ?? '';
  if (given !== '' && !/^[\w.~-]+$/.test(given))
    throw new PageRefusedError(
      'HIGHWATER_UI_TOKEN may have letters, digits and "-", ".", "_", "~" only: it is part of an address',
    );
  if (given !== '' && given.length < TOKEN_LEAST)
    throw new PageRefusedError(`HIGHWATER_UI_TOKEN is too short: use at least ${TOKEN_LEAST} characters`);
  if (given === '' && !isLoopback(options.host))
    throw new PageRefusedError(
      `the page would be served to other machines at ${options.host}. Set HIGHWATER_UI_TOKEN, which every reader then needs; and put TLS in front, such as a proxy`,
    );
  let address: string | null = null;
  const watch = new Watch(async () => {
    const connection = await connect();
    address = connection.address;
    return connection;
  });
  const details = new Details(
    watch,
    meansOf(options.destination ?? [], () => address),
  );
  const page = await servePage({
    watch,
    details,
    host: options.host,
    port: options.port,
    act: options.actions === true ? (action, id) => carryOut(watch, action, id) : null,
    token: given === '' ? randomBytes(24).toString('base64url') : given,
    isReaderToken: given !== '',
  }).catch((thrown: unknown) => {
    const { code } = thrown as NodeJS.ErrnoException;
    throw code === 'EADDRINUSE'
      ? new PageRefusedError(`port ${options.port} is in use; choose another with --port, or 0 for any`)
      : thrown;
  });
  if (options.json === true) print(JSON.stringify({ url: page.entrance, actions: options.actions === true }));
  else {
    print(`Highwater: ${page.entrance}`);
    note(
      options.actions === true
        ? 'The page can act on syncs. Stop it with Ctrl-C.'
        : 'The page only reads. Stop it with Ctrl-C.',
    );
  }
  if (options.open === true) openInBrowser(page.entrance);
  await untilInterrupted();
  await page.close();
  await watch.close();
}

const DONE: { [action in Action]: string } = {
  trigger: 'A pass was requested. It starts now, or after the current one.',
  pause: 'A pause was requested. It takes effect after the current batch.',
  resume: 'A resume was requested.',
  approve: 'Approved: the pass removes the rows.',
  reject: 'Rejected: the rows stay.',
};

/** Carries out an action of the page, as the command of that name does. */
async function carryOut(watch: Watch, action: Action, id: string): Promise<string> {
  const { client } = await watch.connected();
  await client.sync(id).mustRun();
  await answered(client, id, async (sync) => void (await sync[action]()));
  return DONE[action];
}

function openInBrowser(url: string): void {
  const [command, ...args] =
    process.platform === 'darwin'
      ? ['open', url]
      : process.platform === 'win32'
        ? ['explorer', url]
        : ['xdg-open', url];
  spawn(command ?? '', args, { stdio: 'ignore', detached: true })
    .on('error', () => note('No browser could be opened; open the address yourself.'))
    .unref();
}
