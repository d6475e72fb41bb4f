import { ApplicationFailure } from '@temporalio/common';
import { parseDuration } from '../durations.js';
import type { Json, StreamPlan } from '../protocol.js';
import { SETTINGS, type Setting, type Settings } from '../settings.js';
import { suggestion } from '../text.js';

const NAMES = Object.keys(SETTINGS);
const ALIASES: { [name: string]: string } = { rate: 'requests_per_second' };
/** Resets a setting to its value in the configuration. */
const AS_CONFIGURED = 'default';

/** Changed settings; null resets one. */
export type Change = { [name: string]: number | null };

/**
 * Reads `{"page_size": 50, "interval": "15m"}`; numbers may be text, `default` resets a setting.
 * @throws {ApplicationFailure} with every problem at once.
 */
export function readChange(raw: unknown): Change {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw) || Object.keys(raw).length === 0)
    throw settingsRefusal(['give an object such as {"page_size": 50, "interval": "15m"}']);
  const problems: string[] = [];
  const change: Change = {};
  for (const [given, value] of Object.entries(raw as { [name: string]: Json })) {
    const name = ALIASES[given] ?? given;
    const setting = Object.hasOwn(SETTINGS, name) ? SETTINGS[name] : undefined;
    if (setting === undefined) {
      problems.push(
        `${given}: cannot be changed while a sync runs${suggestion(given, NAMES)}; these can: ${NAMES.join(', ')}`,
      );
      continue;
    }
    const read = value === null || value === AS_CONFIGURED ? null : valueOf(setting, value);
    if (typeof read === 'string') problems.push(`${given}: ${read}`);
    else change[name] = read;
  }
  if (problems.length > 0) throw settingsRefusal(problems);
  return change;
}

/** @throws {ApplicationFailure} where a setting does not apply to the stream. */
export function checkChange(change: Change, plan: StreamPlan): void {
  const problems = Object.entries(change).flatMap(([name, value]) => {
    const refusal = value === null ? null : (SETTINGS[name]?.refusal?.(plan) ?? null);
    return refusal === null ? [] : [`${name}: ${refusal}`];
  });
  if (problems.length > 0) throw settingsRefusal(problems);
}

/** Returns the settings after a change. */
export function withChange(settings: Settings, change: Change): Settings {
  const all = Object.entries({ ...settings, ...change });
  return Object.fromEntries(all.filter((entry): entry is [string, number] => entry[1] !== null));
}

/** Returns the plan with the settings applied. */
export function withSettings(plan: StreamPlan, settings: Settings): StreamPlan {
  return Object.entries(settings).reduce((made, [name, value]) => {
    const setting = SETTINGS[name];
    return setting === undefined || (setting.refusal?.(plan) ?? null) !== null
      ? made
      : setting.apply(made, value);
  }, plan);
}

/** Returns the value, or what is wrong with it. */
function valueOf({ kind, least, most }: Setting, value: Json): number | string {
  const shown = JSON.stringify(value).slice(0, 80);
  if (kind === 'duration') {
    const seconds = typeof value === 'string' ? parseDuration(value) : null;
    if (seconds === null || seconds < least || seconds > most)
      return `${shown} is not a duration; write one such as "30s", "15m", "2h" or "1d"`;
    return seconds;
  }
  const number = typeof value === 'string' && /^\s*\d+(\.\d+)?\s*$/.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || (kind === 'whole number' && !Number.isInteger(number)))
    return `${shown} is not a ${kind}`;
  if (number < least) return `${number} is too small: the minimum is ${least}`;
  return number > most ? `${number} is too large: the maximum is ${most}` : number;
}

export const settingsRefusal = (problems: string[]): ApplicationFailure =>
  ApplicationFailure.nonRetryable(`no setting was changed:\n  ${problems.join('\n  ')}`, 'SettingRefused');
