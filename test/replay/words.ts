import { situationOf, WOULD_STAND_STILL, type History, type Replayed } from '../../src/replaying.js';

/** What a developer is told whose change of the workflows does not go with a history of a released version. */
export function whatBreaks(
  version: string,
  name: string,
  history: History,
  broken: Replayed['broken'],
): string {
  if (broken === null) return '';
  return [
    `Incompatible change: syncs that were started with version ${version} would not go on with this code.`,
    ``,
    `  history      test/replay/histories/${version}/${name}.json`,
    `  such a sync  ${situationOf(history)}`,
    `  breaks       ${broken.reason}`,
    `  what then    ${WOULD_STAND_STILL}.`,
    ``,
    `What to do: keep what the code did before for those that began with it,`,
    `  if (patched('say-what-is-new')) { the new way } else { the way of version ${version} }`,
    `with patched() from @temporalio/workflow; or give the new way a workflow type of its own. Activities may change`,
    `freely, as long as they take what they took. Do not record the history again: it stands for syncs that run.`,
  ].join('\n');
}
