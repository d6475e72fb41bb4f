/** Serves the page about all syncs, and carries out its actions. */
import { randomBytes } from 'node:crypto';
import { isIP } from 'node:net';
import { serve } from '@hono/node-server';
import { Hono, type Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { getCookie, setCookie } from 'hono/cookie';
import { isLoopback } from '../trust/policy.js';
import { messageOf } from '../errors.js';
import { isSame } from '../same-secret.js';
import { LEVELS } from '../sync-condition.js';
import type { Details } from './details.js';
import { refusalOfHost, refusalOfOrigin, SECURITY_HEADERS } from './guard.js';
import { overviewPage, reportPage, syncPage, type Said } from './html.js';
import { SCRIPT } from './script.js';
import { STYLE } from './style.js';
import { ACTIONS, placeText, type Action, type Filter } from './view.js';
import type { Watch } from './watch.js';

export interface PageOptions {
  watch: Watch;
  details: Details;
  host: string;
  port: number;
  /** Actions that the page may carry out; null: it only reads. */
  act: ((action: Action, id: string) => Promise<string>) | null;
  /** Required from readers where the page is served beyond loopback, and for actions. */
  token: string;
  /** The token is required from readers on this machine too: the user chose it, perhaps for a proxy in front. */
  isReaderToken: boolean;
}

export interface PageServer {
  /** Its address, without a token. */
  url: string;
  /** Its address with the token, if one is needed for all that it offers. */
  entrance: string;
  close: () => Promise<void>;
}

const COOKIE = 'highwater-ui';
const BODY_LIMIT = 16 * 1024;
/** Maximum number of action results kept until their page is loaded. */
const SAID_KEPT = 100;

/** Starts the server. @throws {Error} if the port is in use. */
export async function servePage(options: PageOptions): Promise<PageServer> {
  const { host, act, token } = options;
  let { port } = options;
  const app = pageApp(options, () => port);
  const server = serve({ fetch: app.fetch, hostname: host, port: options.port });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.once('listening', resolve);
  });
  const address = server.address();
  if (typeof address === 'object' && address !== null) ({ port } = address);
  const url = `http://${isIP(host) === 6 ? `[${host}]` : host}:${port}/`;
  const needsToken = act !== null || options.isReaderToken || !isLoopback(host);
  return {
    url,
    entrance: needsToken ? `${url}?token=${token}` : url,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        if ('closeAllConnections' in server) server.closeAllConnections();
      }),
  };
}

/** Makes the application, without a server. @param port where it is served. */
export function pageApp(
  { watch, details, host, act, token, isReaderToken }: PageOptions,
  port: () => number,
): Hono {
  const app = new Hono();
  const isLocal = isLoopback(host);
  const csrf = randomBytes(24).toString('base64url');
  const session = randomBytes(24).toString('base64url');
  const sayings = new Map<string, Said>();
  // Browsers send cookies to all ports of a host: each page has a name of its own.
  const cookie = () => `${COOKIE}-${port()}`;
  const isKnown = (context: Context) => isSame(getCookie(context, cookie()) ?? '', session);

  app.use(async (context, next) => {
    await next();
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) context.res.headers.set(name, value);
  });
  app.use(async (context, next) => {
    const refusal = refusalOfHost(guarded(context), isLocal ? [host.toLowerCase()] : null);
    if (refusal !== null) return context.text(refusal, 403);
    const given = context.req.query('token');
    if (given !== undefined && context.req.method === 'GET') {
      if (!isSame(given, token))
        return context.text('the token is wrong; open the address that the command printed', 403);
      setCookie(context, cookie(), session, { httpOnly: true, sameSite: 'Strict', path: '/' });
      // Out of the address bar, and of the history.
      return context.redirect('/');
    }
    if ((isReaderToken || !isLocal) && !isKnown(context))
      return context.text('open the address that the command printed: it contains a token', 401);
    await next();
  });
  app.onError((thrown, context) => context.text(messageOf(thrown), 500));
  app.notFound((context) => context.text('there is no such page', 404));

  app.get('/style.css', (context) => context.body(STYLE, 200, { 'Content-Type': 'text/css; charset=utf-8' }));
  app.get('/script.js', (context) =>
    context.body(SCRIPT, 200, { 'Content-Type': 'text/javascript; charset=utf-8' }),
  );
  app.get('/', async (context) =>
    context.html(overviewPage(await watch.overview(), filterIn(context), Date.now())),
  );
  app.get('/sync', async (context) => {
    const found = await details.of(context.req.query('id') ?? '');
    if (found === null) return context.text('there is no sync with this id; it may have been deleted', 404);
    return context.html(
      syncPage(found, {
        now: Date.now(),
        token: act !== null && isKnown(context) ? csrf : null,
        said: sayings.get(context.req.query('said') ?? '') ?? null,
        where: placeText(await watch.overview()),
      }),
    );
  });
  app.get('/report', async (context) => {
    const id = context.req.query('id') ?? '';
    const found = await details.of(id, { isWhole: true });
    if (found === null) return context.text('there is no sync with this id; it may have been deleted', 404);
    const file = `${id.replace(/[^\w.-]+/g, '-')}.html`;
    context.header('Content-Disposition', `attachment; filename="${file}"`);
    return context.html(reportPage(found, placeText(await watch.overview()), Date.now()));
  });
  app.post('/action', bodyLimit({ maxSize: BODY_LIMIT }), async (context) => {
    if (act === null)
      return context.text('this page only reads; start it with "highwater ui --actions" to act', 403);
    const refusal = refusalOfOrigin(guarded(context));
    if (refusal !== null) return context.text(refusal, 403);
    const form = await context.req.parseBody();
    if (!isKnown(context) || typeof form['token'] !== 'string' || !isSame(form['token'], csrf))
      return context.text('the page is too old; open the address that the command printed', 403);
    const action = ACTIONS.find((one) => one === form['action']);
    const id = form['id'];
    if (action === undefined || typeof id !== 'string' || id === '')
      return context.text(`give an id and an action: ${ACTIONS.join(', ')}`, 400);
    const said = await act(action, id).then(
      (text): Said => ({ text, isProblem: false }),
      (thrown: unknown): Said => ({ text: messageOf(thrown), isProblem: true }),
    );
    await watch.refresh();
    const name = randomBytes(9).toString('base64url');
    sayings.set(name, said);
    for (const old of [...sayings.keys()].slice(0, -SAID_KEPT)) sayings.delete(old);
    return context.redirect(`/sync?id=${encodeURIComponent(id)}&said=${name}`, 303);
  });
  app.all('/action', (context) => context.text('use POST', 405));
  return app;
}

const guarded = (context: Context) => ({
  host: context.req.header('host'),
  origin: context.req.header('origin'),
  site: context.req.header('sec-fetch-site'),
});

function filterIn(context: Context): Filter {
  const level = LEVELS.find((one) => one === context.req.query('level')) ?? null;
  return { level, text: (context.req.query('q') ?? '').slice(0, 200) };
}
