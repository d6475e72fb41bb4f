import { Context } from '@temporalio/activity';
import { durationText } from '../durations.js';
import { NotAllowedError, SyncError } from '../errors.js';
import type { Notice } from '../protocol.js';
import { References } from '../sources/references.js';
import { reporting } from './failures.js';
import type { Activities, Dependencies } from './index.js';

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
  ({ environment, trust, network }: Dependencies): Activities['sendNotice'] =>
  ({ url, notice }) =>
    reporting(async () => {
      const references = new References(environment, trust);
      const address = references.resolve(url, 'notify.url').trim();
      references.check();
      if (!/^https?:\/\//i.test(address) || !URL.canParse(address))
        throw new NoticeRefusedError('notify.url gives no address that begins with http:// or https://');
      const abort = AbortSignal.any([
        Context.current().cancellationSignal,
        AbortSignal.timeout(ANSWER_MILLISECONDS),
      ]);
      let status: number;
      try {
        const answer = await network.fetch(new URL(address), {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'user-agent': 'highwater' },
          body: JSON.stringify(bodyOf(notice, environment)),
          redirect: 'error',
          signal: abort,
        });
        ({ status } = answer);
        // What it answers is nobody's business here, but its connection is to be free again.
        answer.body?.resume();
      } catch (thrown) {
        // Its words name the host.
        if (thrown instanceof NotAllowedError)
          throw NotAllowedError.of('the host of notify.url', { list: 'allow-hosts', entry: 'HOST' });
        const { code } = thrown as NodeJS.ErrnoException;
        // Words of the client's hold the address.
        const why = code ?? (abort.aborted ? 'it did not answer' : 'it redirects, or breaks off');
        throw new NoticeNotDeliveredError(`the webhook of notify.url cannot be reached: ${why}`);
      }
      if (status >= 200 && status < 300) return;
      const isFinal = status < 500 && ![408, 425, 429].includes(status);
      const said = `the webhook of notify.url answered ${status}`;
      throw isFinal ? new NoticeRefusedError(said) : new NoticeNotDeliveredError(said);
    });

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
    ...{ text: textOf(workflowId, notice, workflow), id, event, sync: workflowId, runId },
    ...{ namespace: info.namespace, stream, status, error: { type, message }, since },
    ...(deletes !== undefined && { deletes }),
    ...{ nextTry, completeAsOf, lagSeconds, at, links: { workflow } },
  };
}

const HEAD: Record<Notice['event'], string> = { failing: '🔴', recovered: '🟢', lag: '🟠' };

function textOf(sync: string, notice: Notice, link: string | null): string {
  const { event, status, message, since, nextTry, stream, deletes } = notice;
  const what =
    event === 'recovered'
      ? 'is well again'
      : event === 'lag'
        ? 'is behind its source'
        : status === 'failing'
          ? 'is failing'
          : deletes !== undefined
            ? 'waits for you: approve or reject what a pass would delete'
            : status === 'blocked'
              ? 'is blocked and needs you'
              : 'has failed';
  const next =
    // A question says itself what to do about it.
    event !== 'failing' || deletes !== undefined
      ? []
      : nextTry !== null
        ? [`The next try is at ${nextTry}.`]
        : status === 'blocked'
          ? [`Mend it, then: highwater resume ${sync}`]
          : ['Mend it, and start it again: it goes on from where it was.'];
  const isBehind = notice.lagSeconds !== null && event === 'failing';
  return [
    `${HEAD[event]} Sync ${sync} (${stream}) ${what}, since ${since}.`,
    message,
    ...next,
    ...(isBehind ? [`Lag: ${durationText(notice.lagSeconds ?? 0)}.`] : []),
    ...(link === null ? [] : [link]),
  ].join('\n');
}
