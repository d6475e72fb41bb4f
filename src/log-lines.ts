/** Lines of a worker's log for people: time, level, sync, message, and the rest. */
import { coloured, type Tone } from './colours.js';
import { visible } from './text.js';

const LEVELS: { [level: number]: [name: string, tone: Tone | null] } = {
  10: ['trace', 'quiet'],
  20: ['debug', 'quiet'],
  30: ['info', null],
  40: ['warn', 'warn'],
  50: ['error', 'bad'],
  60: ['fatal', 'bad'],
};

/** Fields that other parts of the line show. */
const SHOWN = ['level', 'time', 'msg', 'sync', 'stream'];
/** Fields left out of text; the JSON format keeps them. */
const LEFT_OUT = ['runId', 'taskQueue', 'attempt', 'isReplaying'];

/**
 * Returns a line of the log for people; text that is not a line of the log as it is.
 * @param json one line of JSON, as pino writes it.
 */
export function logLine(json: string, hasColours: boolean): string {
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(json) as Record<string, unknown>;
  } catch {
    return json;
  }
  const paint = (tone: Tone | null, text: string) =>
    hasColours && tone !== null ? coloured(tone, text) : text;
  const { level, time, msg, sync, stream } = entry;
  const [name, tone] = LEVELS[Number(level)] ?? [String(level), null];
  const of = [sync, stream].filter((part) => typeof part === 'string' && part !== '');
  const about =
    typeof sync === 'string' && typeof stream === 'string' && sync.endsWith(`/${stream}`) ? [sync] : of;
  const rest = Object.entries(entry).filter(([key]) => !SHOWN.includes(key) && !LEFT_OUT.includes(key));
  return [
    paint('quiet', clock(time)),
    paint(tone, name.padEnd(5)),
    ...(about.length === 0 ? [] : [paint('strong', about.map((part) => visible(String(part))).join(' '))]),
    paint(tone, visible(String(msg ?? ''))),
    ...rest.map(([key, value]) => `${paint('quiet', `${visible(key)}=`)}${valueText(value)}`),
  ].join(' ');
}

/** The time of day: a terminal shows what happens now. */
const clock = (time: unknown): string => (typeof time === 'string' ? time.slice(11, 19) : '');

const valueText = (value: unknown): string =>
  typeof value === 'string' && !/[\s"]/.test(value) ? visible(value) : visible(JSON.stringify(value) ?? '');
