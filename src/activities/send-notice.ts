import { Context } from '@temporalio/activity';
import { durationText } from '../durations.js';
import { NotAllowedError, SyncError } from '../errors.js';
import type { Notice } from '../protocol.js';
import type { ReadSecrets } from '../secrets/read-secrets.js';
import { References } from '../sources/references.js';
import type { Activities, Dependencies } from './context.js';
import { reporting } from './failures.js';
import { shellWord } from '../text.js';

const ANSWER_MILLISECONDS = 10_000;

/** The webhook will not take a notice. */
export class NoticeRefusedError extends SyncError {
  override readonly name = 'NoticeRefusedError';
}

/** The webhook has not taken a notice yet. */
class NoticeNotDeliveredError extends SyncError {
  override readonly name = 'NoticeNotDeliveredError';
}

/** Calls the webhook. Its address is a secret: it appears in no message. */
export const sendNotice =
  (dependencies: Dependencies): Activities['sendNotice'] =>
  ({ url, notice }) =>
    reporting(async () => {
      const { trust, secrets } = dependencies;
      const body = JSON.stringify(bodyOf(notice, dependencies.environment));
      const read = await secrets.read(url, trust);
      let status = await post(addressBy(url, read, dependencies), body, dependencies);
      if (isRefusal(status) && !read.isEmpty) {
        // Another address may have taken the place of this one.
        secrets.forget(read);
        const now = await secrets.read(url, trust);
        if (!now.equals(read)) status = await post(addressBy(url, now, dependencies), body, dependencies);
      }
      if (status >= 200 && status < 300) return;
      const said = `the webhook (notify.url) answered ${status}`;
      throw isRefusal(status) ? new NoticeRefusedError(said) : new NoticeNotDeliveredError(said);
    });

/** Whether an answer will be the same as long as nothing is changed. */
const isRefusal = (status: number): boolean =>
  status >= 300 && status < 500 && ![408, 425, 429].includes(status);

/** @throws {ConfigurationError | NotAllowedError | NoticeRefusedError} */
function addressBy(url: string, read: ReadSecrets, { environment, trust }: Dependencies): URL {
  const references = new References(environment, trust, read);
  const address = references.resolve(url, 'notify.url').trim();
  references.check();
  if (/^https?:\/\//i.test(address) && URL.canParse(address)) return new URL(address);
  throw new NoticeRefusedError(
    'notify.url does not resolve to an address that begins with http:// or https://',
  );
}

/** Sends a notice. @returns the status of the answer. @throws {NotAllowedError | NoticeNotDeliveredError} */
async function post(address: URL, body: string, { network }: Dependencies): Promise<number> {
  const abort = AbortSignal.any([
    Context.current().cancellationSignal,
    AbortSignal.timeout(ANSWER_MILLISECONDS),
  ]);
  try {
    const answer = await network.fetch(address, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'user-agent': 'highwater' },
      body,
      redirect: 'error',
      signal: abort,
    });
    // The body is not used, but it must be read to free its connection.
    answer.body?.resume();
    return answer.status;
  } catch (thrown) {
    // Its words name the host.
    if (thrown instanceof NotAllowedError)
      throw NotAllowedError.of('the host of notify.url', { list: 'allow-hosts', entry: 'HOST' });
    const { code } = thrown as NodeJS.ErrnoException;
    // Words of the client's hold the address.
    const why = code ?? (abort.aborted ? 'it did not answer' : 'it redirects, or closed the connection');
    throw new NoticeNotDeliveredError(`the webhook (notify.url) is unreachable: ${why}`);
  }
}

/** For any receiver; `text` is what Slack, Mattermost and Google Chat show. */
function bodyOf(notice: Notice, environment: NodeJS.ProcessEnv): { [name: string]: unknown } {
  const { info } = Context.current();
  const { workflowId = '', runId = '' } = info.workflowExecution ?? {};
  const { id, event, stream, status, type, message, since, nextTry, lagSeconds, completeAsOf, at } = notice;
  const { deletes } = notice;
  const ui = environment['HIGHWATER_WEB_UI']?.replace(/\/+$/, '');
  const workflow =
    ui === undefined || ui === ''
      ? null
      : `${ui}/namespaces/${info.namespace}/workflows/${encodeURIComponent(workflowId)}/${runId}/history`;
  return {
    text: textOf(workflowId, notice, workflow),
    id,
    event,
    sync: workflowId,
    runId,
    namespace: info.namespace,
    stream,
    status,
    error: { type, message },
    since,
    ...(deletes !== undefined && { deletes }),
    nextTry,
    completeAsOf,
    lagSeconds,
    at,
    links: { workflow },
  };
}

const HEAD: Record<Notice['event'], string> = { failing: '🔴', recovered: '🟢', lag: '🟠' };

function textOf(sync: string, notice: Notice, link: string | null): string {
  const { event, status, message, since, nextTry, stream, deletes } = notice;
  const what =
    event === 'recovered'
      ? 'has recovered'
      : event === 'lag'
        ? 'is behind its source'
        : status === 'failing'
          ? 'is failing'
          : deletes !== undefined
            ? 'waits for your decision: approve or reject the deletes of its pass'
            : status === 'blocked'
              ? 'is blocked and needs you'
              : 'has failed';
  const next =
    // A question says itself what to do about it.
    event !== 'failing' || deletes !== undefined
      ? []
      : nextTry !== null
        ? [`It retries at ${nextTry}.`]
        : status === 'blocked'
          ? [`Fix the problem, then: highwater resume ${shellWord(sync)}`]
          : ['Fix the problem and start the sync again: it continues from its checkpoint.'];
  const isBehind = notice.lagSeconds !== null && event === 'failing';
  return [
    `${HEAD[event]} Sync ${sync} (${stream}) ${what}, since ${since}.`,
    message,
    ...next,
    ...(isBehind ? [`Lag: ${durationText(notice.lagSeconds ?? 0)}.`] : []),
    ...(link === null ? [] : [link]),
  ].join('\n');
}
